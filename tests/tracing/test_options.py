"""Options have the letters of the prompt, the right tokens, and exact probabilities."""

import mpmath
import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from prunescope.model import loading as own_models
from prunescope.model import prompts, tokenization
from prunescope.tracing import options
from prunescope.tracing.letters import options_of
from smollm2 import model_dir
from tiny_inputs import byte_tokenizer

TURN = "[/INST]"


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("Which gas? Answer with one letter: A) oxygen B) nitrogen C) carbon dioxide", "ABC"),
        ("Which? (a) one (b) two", "ab"),
        ("Which?\nA. one\nB. two\nC. three\nD. four\nE. five", "ABCDE"),
        ("Which? A)one B)two", "AB"),
        ("In World War I. A. fought B. fled", "AB"),
        ("A line joins points A and B. How long is it, e.g. in f(a)? A) 3 B) 4", "AB"),
        ("Sea: A) wet B) dry C) red\nAnswer: A\nSand: A) wet B) dry", "AB"),
        ("哪种气体？A）氧气 B）氮气 C）氦气", "ABC"),
        ("哪种气体？A、氧气B、氮气", "AB"),
        ("**A)** one **B)** two", "AB"),
        ("<b>A)</b> \x1b[31mone B) two", "AB"),
    ],
)
def test_letters_are_read_from_the_prompt(text, letters):
    assert options_of(text) == list(letters)


@pytest.mark.parametrize(
    "text",
    [
        "Who is the tallest?",
        "",
        "A) one",
        "A) one B) two D) three",
        "B) one C) two",
        "A) one b) two",
        "Is it a) or b)? A) a B) b",
        "A) one C) two B) three",
    ],
)
def test_a_prompt_without_clear_options_is_refused(text):
    with pytest.raises(ValueError, match=r"at least two options in one style.*it shows"):
        options_of(text)


def _fast(raw, chat_template=None):
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, name_or_path="made/here")
    tokenizer.chat_template = chat_template
    return tokenizer


def _byte_level(merges=()):
    """One token per byte, and one per merge; "Ġ" is a space, "Ċ" a newline."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = [*alphabet, *map("".join, merges)]
    raw = Tokenizer(models.BPE({token: i for i, token in enumerate(vocabulary)}, list(merges)))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    return raw


def _metaspace(prepend):
    """As SentencePiece: a space is "▁", and one may be put before a text."""
    letters = [chr(code) for code in range(ord(" ") + 1, 127)] + ["\n", "▁"]
    merges = [("▁", letter) for letter in "ABCDabcd"]
    vocabulary = ["<unk>", *letters, *map("".join, merges)]
    raw = Tokenizer(models.BPE({t: i for i, t in enumerate(vocabulary)}, merges, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend, split=False)
    raw.decoder = decoders.Metaspace("▁", prepend)
    raw.add_special_tokens([AddedToken(TURN, special=True, normalized=False)])
    return raw


BOTH = [("Ġ", letter) for letter in "ABCDabcd"]
CHAT = "{% for m in messages %}[{{ m.role }}]\n{{ m.content }}\n{% endfor %}" + (
    "{% if add_generation_prompt %}[assistant]\n{% endif %}"
)
SPACED = (
    "{% for m in messages %}{{ m.content + '[/INST]' if m.role == 'user' else ' ' + m.content }}"
    "{% endfor %}"
)
THINKING = CHAT.replace(
    "{{ m.content }}", "{{ '<think>' if m.role == 'assistant' }}{{ m.content }}"
)


@pytest.mark.parametrize(
    ("raw", "template", "prompt", "token"),
    [
        # Byte level with "A" and " A" as two tokens.
        (_byte_level(BOTH), None, "Which? B) no", "ĠA"),
        (_byte_level(BOTH), None, "Answer:", "ĠA"),
        (_byte_level(BOTH), None, "Answer: ", "A"),  # " A" would merge into the prompt
        (_byte_level(BOTH), None, "Answer:\n", "A"),
        (_byte_level(BOTH), None, "Answer: (", "A"),
        (_byte_level(BOTH), None, "答案：", "A"),
        (_byte_level(BOTH), CHAT, "Which?", "A"),
        (_byte_level(BOTH), THINKING, "Which?", "A"),  # the template says nothing: a newline
        # A tokenizer that would merge even a newline with a letter.
        (_byte_level([*BOTH, ("(", "A"), ("(", "B")]), None, "Answer: (", "A"),
        # As SentencePiece.
        (_metaspace("first"), None, "Answer:", "▁A"),
        (_metaspace("always"), None, "Answer:", "▁A"),
        (_metaspace("first"), None, "Answer: ", "A"),
        (_metaspace("first"), CHAT, "Which?", "A"),
        (_metaspace("first"), SPACED, "Which?", "▁A"),  # Mistral writes a space after [/INST]
        (_metaspace("never"), SPACED, "Which?", "▁A"),
        # " " and "A" are two tokens: the second is where options differ.
        (byte_tokenizer(), None, "Answer:", "A"),
        (byte_tokenizer(begin=True), None, "Answer: ", "A"),
    ],
)
def test_the_token_is_that_of_an_answer_that_begins_with_the_letter(raw, template, prompt, token):
    """By tokenizers made by hand, whose tokens are known."""
    tokenizer = _fast(raw, template)
    ids = prompts.prompt_token_ids(tokenizer, prompt)
    found = options.option_token(tokenizer, ids, "A")
    assert tokenizer.convert_ids_to_tokens(found) == token
    others = [options.option_token(tokenizer, ids, letter) for letter in "BCDabcd"]
    assert len({found, *others}) == 8


def test_a_tokenizer_without_the_letter_is_refused_by_name():
    raw = Tokenizer(models.WordLevel({"<unk>": 0, "Answer": 1, "B": 2}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = _fast(raw)
    with pytest.raises(ValueError, match=r"made/here.*option 'A' after 'Answer'.*<unk>"):
        options.option_token(tokenizer, [1], "A")
    assert options.option_token(tokenizer, [1], "B") == 2


def test_the_token_continues_the_prompt_of_smollm2():
    """Its template ends in a newline: prompt and letter as one text give another token."""
    tokenizer = own_models.load_tokenizer(model_dir())
    asked = "Which is wet? A) sea B) sand"
    ids = prompts.prompt_token_ids(tokenizer, asked)
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": asked}], add_generation_prompt=True, tokenize=False
    )
    for letter in options_of(asked):
        whole = tokenization.template_ids(tokenizer, rendered + letter)
        assert whole == [*ids, options.option_token(tokenizer, ids, letter)]
    tokenizer.chat_template = None
    bare = prompts.prompt_token_ids(tokenizer, asked)
    spaced = options.option_token(tokenizer, bare, "A")
    assert tokenizer.decode([spaced]) == " A"


OPTIONS = {"A": 7, "B": 40, "C": 3}


@pytest.fixture
def tokenizer():
    return _fast(_byte_level(BOTH))


def _rows(z, z_variant, tokenizer, temperatures=(1.0,), **settings):
    tables = options.tables_of(
        "choice-1", OPTIONS, z, z_variant, temperatures, tokenizer, **settings
    )
    return [table.to_pylist() for table in tables]


def _softmax(z, temperature):
    """Probabilities with 60 digits."""
    e = [mpmath.exp(mpmath.mpf(float(x)) / mpmath.mpf(temperature)) for x in z]
    return [x / sum(e) for x in e]


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1.0, 40.0])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 1.5])
def test_rows_equal_a_computation_with_60_digits(generator, tokenizer, scale, temperature):
    """Nine digits of each number agree, however small the shift."""
    z = 5 * torch.randn(60, generator=generator, dtype=torch.float64)
    z_variant = z + scale * torch.randn(60, generator=generator, dtype=torch.float64)
    trace, agreement, _ = _rows(z, z_variant, tokenizer, [temperature])
    with mpmath.workdps(60):
        p, q = _softmax(z, temperature), _softmax(z_variant, temperature)
        for row in trace:
            for side, probability in (("dense", p), ("variant", q)):
                own, all_of_them = (
                    probability[row["token"]],
                    sum(probability[token] for token in OPTIONS.values()),
                )
                assert row[f"p_{side}"] == pytest.approx(float(own), rel=1e-9)
                assert row[f"log_likelihood_{side}"] == pytest.approx(float(mpmath.log(own)))
                assert row[f"share_{side}"] == pytest.approx(float(own / all_of_them), rel=1e-9)
                ahead = sum(probability[token] > own for token in OPTIONS.values())
                assert row[f"rank_{side}"] == ahead
        for row in agreement:
            tokens = OPTIONS.values() if row["scope"] == "options" else range(60)
            u, v = ([each[token] for token in tokens] for each in (p, q))
            u, v = [x / sum(u) for x in u], [x / sum(v) for x in v]
            pairs = list(zip(u, v, strict=True))
            kl = sum(a * mpmath.log(a / b) for a, b in pairs)
            norms = mpmath.sqrt(sum(a * a for a in u) * sum(b * b for b in v))
            turn = 1 - sum(a * b for a, b in pairs) / norms
            rel = 1e-6 if scale == 1e-9 else 1e-9  # z_variant - z itself has seven digits there
            assert row["kl_divergence"] == pytest.approx(float(kl), rel=rel, abs=0)
            assert row["angular_deviation"] == pytest.approx(float(turn), rel=1e-5, abs=0)
            assert row["argmax_survived"] == (u.index(max(u)) == v.index(max(v)))
    assert [row["scope"] for row in agreement] == ["vocabulary", "options"]


def test_the_identity_changes_nothing(generator, tokenizer):
    z = 30 * torch.randn(60, generator=generator)
    trace, agreement, tokens = _rows(z, z.clone(), tokenizer, [0.3, 1.0])
    assert all(row["kl_divergence"] == row["angular_deviation"] == 0 for row in agreement)
    assert all(row["argmax_survived"] for row in agreement)
    for row in trace:
        for name in ("p", "log_likelihood", "share", "rank"):
            assert row[f"{name}_dense"] == row[f"{name}_variant"]
    assert all(row["p_dense"] == row["p_variant"] for row in tokens)


def test_a_common_shift_of_all_logits_changes_nothing(generator, tokenizer):
    """Ranks, shares and KL are the same, also in half precision."""
    z = torch.randint(-8, 8, (60,), generator=generator).to(torch.bfloat16)
    trace, agreement, _ = _rows(z, z + 4, tokenizer)
    for row in agreement:
        assert row["kl_divergence"] == pytest.approx(0, abs=1e-25)
    for row in trace:
        assert row["share_variant"] == pytest.approx(row["share_dense"], rel=1e-14)
        assert row["rank_variant"] == row["rank_dense"]


def test_statistics_over_options_ignore_other_tokens(generator, tokenizer):
    """A token outside them that takes all the probability changes only other statistics."""
    z = torch.randn(60, generator=generator)
    z_variant = z.clone()
    z_variant[20] += 50
    trace, (vocabulary, among), _ = _rows(z, z_variant, tokenizer)
    assert vocabulary["kl_divergence"] > 40
    assert not vocabulary["argmax_survived"]
    assert among["kl_divergence"] == among["angular_deviation"] == 0
    assert among["argmax_survived"]
    assert [row["option"] for row in trace] == list(OPTIONS)
    assert sum(row["share_variant"] for row in trace) == pytest.approx(1)
    assert sum(row["p_variant"] for row in trace) < 1e-15


def test_ties_are_resolved_in_order(tokenizer):
    """Of equal options, the first in the prompt leads; of equal tokens, the smallest id."""
    z = torch.zeros(60)
    trace, agreement, tokens = _rows(z, z, tokenizer, top=4)
    assert [row["rank_dense"] for row in trace] == [0, 1, 2]
    assert [row["token"] for row in tokens] == [0, 1, 2, 3] * 2
    assert all(row["argmax_survived"] for row in agreement)


def test_top_tokens_of_both_models_have_both_probabilities(generator, tokenizer):
    z, z_variant = torch.randn(2, 60, generator=generator).double()
    *_, tokens = _rows(z, z_variant, tokenizer, [0.3], top=5)
    for side, own in (("dense", z), ("variant", z_variant)):
        rows = [row for row in tokens if row["side"] == side]
        likeliest = sorted(range(60), key=lambda token: -own[token])[:5]
        assert [row["token"] for row in rows] == likeliest
        assert [row["rank"] for row in rows] == list(range(5))
        assert [row["text"] for row in rows] == [tokenizer.decode([t]) for t in likeliest]
        for row in rows:
            for name, of in (("p_dense", z), ("p_variant", z_variant)):
                expected = (of[row["token"]].exp() / of.exp().sum()).item()
                assert row[name] == pytest.approx(expected)
    *_, all_of_them = _rows(z, z_variant, tokenizer, top=100)
    assert len(all_of_them) == 120
