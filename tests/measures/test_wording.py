"""Measures of texts equal simple counts, verdicts have their meaning, and output is safe."""

import itertools
import math
import random

import pytest
import regex
import torch
import yaml
from transformers import PreTrainedTokenizerFast

from prunescope.measures import wording
from prunescope.paths import ROOT
from prunescope.tables.schemas import TABLES
from tiny_inputs import END, byte_tokenizer

CONFIG = ROOT / "config.yaml"
THRESHOLDS = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["texts"]
DEGENERATE, OFF_PROMPT = THRESHOLDS["degenerate"], THRESHOLDS["off_prompt"]


def _random_texts(count=200, seed=0):
    """Texts of a few different tokens, which repeat themselves; some contain a loop."""
    rng = random.Random(seed)
    for _ in range(count):
        text = rng.choices(range(rng.randint(1, 6)), k=rng.randint(1, 40))
        if rng.random() < 0.5:
            phrase = rng.choices(range(9), k=rng.randint(1, 36))
            text += phrase * rng.randint(1, 4) + phrase[: rng.randint(0, len(phrase))]
        yield text


def _loop_by_counting(text):
    """The longest loop, found by trying every start and every phrase length."""
    best = 0
    for start in range(len(text)):
        for period in range(1, 33):
            phrase, times = text[start : start + period], 1
            while text[start + times * period : start + (times + 1) * period] == phrase:
                times += 1
            if len(phrase) == period and times > 1:
                best = max(best, times * period)
    return best


def _repeats_by_counting(text):
    """The share of 4-grams that are found among all earlier ones."""
    starts = range(len(text) - 3)
    repeated = [any(text[s : s + 4] == text[e : e + 4] for e in range(s)) for s in starts]
    return sum(repeated) / len(repeated) if repeated else 0.0


def test_loops_and_repetition_equal_counting():
    for text in _random_texts():
        assert wording.longest_loop(text) == _loop_by_counting(text)
        assert wording.repeated_ngram_share(text) == pytest.approx(_repeats_by_counting(text))


@pytest.mark.parametrize(
    ("text", "loop"),
    [
        ("ababab", 6),
        ("ababa", 4),
        ("aa", 2),
        ("a", 0),
        ("abcd", 0),
        ("xaaay", 3),
        ("abcabcxyxyxyxy", 8),
        ("ab" * 20, 40),
    ],
)
def test_only_complete_phrases_of_a_loop_count(text, loop):
    assert wording.longest_loop([ord(letter) for letter in text]) == loop


def test_a_phrase_of_more_than_32_tokens_is_no_loop():
    assert wording.longest_loop([*range(32)] * 3) == 96
    assert wording.longest_loop([*range(33)] * 3) == 0


def test_wording_of_the_shortest_texts():
    """Shares without a denominator are 0 or None."""
    assert wording.wording([2]) == wording.Wording(1, 0.0, 0, 1.0, None)
    assert wording.wording([7, 2]) == wording.Wording(2, 0.0, 0, 1.0, 1.0)
    assert wording.wording([7, 7, 7]) == wording.Wording(3, 0.0, 3, 1 / 3, 1 / 2)
    assert wording.wording([7, 7, 7, 7, 7]) == wording.Wording(5, 0.5, 4 + 1, 1 / 5, 1 / 4)


def test_distinct_counts_different_ngrams():
    for text in _random_texts(seed=1):
        measured = wording.wording(text)
        assert measured.distinct_1 == len(set(text)) / len(text)
        pairs = [(text[i], text[i + 1]) for i in range(len(text) - 1)]
        assert measured.distinct_2 == (len(set(pairs)) / len(pairs) if pairs else None)


@pytest.mark.parametrize(
    ("dense", "variant", "step", "share"),
    [
        ([1, 2, 3], [1, 2, 3], None, 1),
        ([1, 2, 3], [1, 5, 3], 1, 2 / 3),
        ([1, 2, 3], [1, 2], 2, 2 / 3),
        ([1], [1, 2, 3, 4], 1, 1 / 4),
        ([9], [1, 2], 0, 0),
        ([1, 2], [2, 1], 0, 0),
    ],
)
def test_first_divergence_and_equal_share(dense, variant, step, share):
    """Both are symmetric."""
    for one, other in ((dense, variant), (variant, dense)):
        assert wording.first_divergence(one, other) == step
        assert wording.equal_share(one, other) == share


def _perplexity(z, tokens):
    return wording.perplexity(wording.log_likelihoods(z, tokens))


def test_perplexity_follows_from_the_product_of_probabilities(generator, monkeypatch):
    """Chunks may have any size. Uniform logits give the size of the vocabulary."""
    z = 3 * torch.randn(11, 17, generator=generator)
    tokens = torch.randint(17, (11,), generator=generator).tolist()
    product = 1.0
    for row, token in zip(z.tolist(), tokens, strict=True):
        product *= math.exp(row[token]) / math.fsum(map(math.exp, row))
    for chunk_size in (1, 40, 1 << 20):
        monkeypatch.setattr(wording, "_LOGITS_PER_CHUNK", chunk_size)
        assert _perplexity(z, tokens) == pytest.approx(product ** (-1 / 11), rel=1e-9)
        assert _perplexity(z + 500, tokens) == pytest.approx(product ** (-1 / 11), rel=1e-4)
    assert _perplexity(torch.zeros(4, 17).bfloat16(), [0, 5, 5, 16]) == pytest.approx(17)
    assert _perplexity(torch.tensor([[0.0, -math.inf]]), [1]) == math.inf


def _measures(dense, variant, ratio=1.0, information=9.0):
    return wording.Measures(
        wording.wording(dense),
        wording.wording(variant),
        wording.first_divergence(dense, variant),
        2.0 * ratio,
        2.0,
        information,
    )


def test_verdicts_of_clear_cases():
    """A different text is changed; one with loops, repeated phrases or nonsense is degenerate."""
    fresh, other = [*range(100, 160)], [*range(200, 260)]
    phrases = [token for last in range(20) for token in (1, 2, 3, 4, 5, 6, 7, 100 + last)]
    cases = {
        "intact": [(fresh, fresh, 1), ([2], [2], 1), ([8] * 60, [8] * 60, 1)],
        "changed": [
            (fresh, other, 1.5),
            (fresh, [2], 1e6),  # an empty answer, however unlikely
            ([5, 2], [6, 2], 1e6),  # another letter
            (fresh, [*other[:40], 2], 1.5),
            ([8] * 60, [9] * 60, 1),  # dense itself loops
            (phrases, [t + 500 for t in phrases], 1),
        ],
        "degenerate": [
            (fresh, [*other[:30], *[7, 8, 9] * 20], 1),
            (fresh, [9] * 60, 0.1),
            (fresh, phrases, 1),
            (fresh, other, 50),
        ],
    }
    for expected, texts in cases.items():
        for dense, variant, ratio in texts:
            assert wording.verdict(_measures(dense, variant, ratio), THRESHOLDS) == expected


def test_each_threshold_is_sufficient():
    """Just below it a text is changed, and just above it degenerate."""
    same = wording.Wording(100, 0.2, 10, 0.5, 0.8)
    thresholds = {
        "longest_loop": 10 + round(100 * DEGENERATE["longest_loop_share"]),
        "repeated_ngram_share": 0.2 + DEGENERATE["repeated_ngram_share"],
    }
    for name, value in thresholds.items():
        for step, expected in ((-0.01, "changed"), (0.01, "degenerate")):
            near = value + (100 * step if name == "longest_loop" else step)
            measures = wording.Measures(same, same._replace(**{name: near}), 3, 2.0, 2.0, 9.0)
            assert wording.verdict(measures, THRESHOLDS) == expected
            short = measures.variant._replace(n_tokens=DEGENERATE["least_tokens"] - 1)
            assert wording.verdict(measures._replace(variant=short), THRESHOLDS) == "changed"
    for factor, expected in ((0.99, "changed"), (1.01, "degenerate")):
        perplexity = 2.0 * DEGENERATE["perplexity_ratio"] * factor
        measures = wording.Measures(same, same, 3, perplexity, 2.0, 9.0)
        assert wording.verdict(measures, THRESHOLDS) == expected


def test_a_text_that_its_prompt_does_not_explain_is_off_prompt():
    """Just at the threshold it is; a short, an unmeasured, an intact or a degenerate one is not."""
    fresh, other, threshold = [*range(60)], [*range(200, 260)], OFF_PROMPT["prompt_information"]
    short = other[: OFF_PROMPT["least_tokens"] - 1]
    for variant, ratio, information, expected in (
        (other, 1.0, threshold, "off-prompt"),
        (other, 1.0, threshold + 0.01, "changed"),
        (short, 1.0, threshold - 1, "changed"),
        (other, 1.0, None, "changed"),
        (fresh, 1.0, threshold - 1, "intact"),
        ([9] * 60, 1.0, threshold - 1, "degenerate"),
        (other, 50.0, threshold - 1, "degenerate"),
    ):
        measures = _measures(fresh, variant, ratio, information)
        assert wording.verdict(measures, THRESHOLDS) == expected


WRITTEN = ["B", "答案是二氧化碳。", "def f(x):\n\treturn x\n", "<b>&\x1b[31m\x00\u202e", "a a a"]


@pytest.mark.parametrize(
    ("written", "stopped"), [("", True), *itertools.product(WRITTEN, [True, False])]
)
def test_a_row_fits_its_table_and_contains_the_texts(written, stopped):
    """Empty answers, Chinese, code and control characters are stored unchanged."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=byte_tokenizer(), eos_token=END)
    end = tokenizer.eos_token_id
    dense = [*tokenizer("B) nitrogen")["input_ids"], end]
    ids = [*tokenizer(written)["input_ids"], *[end] * stopped]
    row = wording.as_row(
        _answer("multiple_choice", 0.0, dense),
        ids,
        wording.Likelihoods(3.5, 1.5, 9.0),
        tokenizer,
        [end],
        THRESHOLDS,
    )
    table = TABLES["generated_text"]
    assert list(row.keys() ^ {column.name for column in table.columns}) == []
    stored = type(table.empty()).from_pylist([row], schema=table.schema).to_pylist()[0]
    assert (stored["variant_text"], stored["dense_text"]) == (written, "B) nitrogen")
    assert stored["verdict"] == ("changed" if written else "empty")
    assert stored["stopped"] is stopped
    assert stored["n_tokens"] == len(ids) == len(stored["variant_token_ids"])
    assert stored["first_divergence"] == (1 if written == "B" else 0)
    assert (stored["perplexity_under_dense"], stored["dense_perplexity"]) == (3.5, 1.5)
    assert stored["prompt_information"] == 9.0


def _answer(kind, sampling_temperature, token_ids):
    """The columns of a row of `dense_answer` that are read."""
    return {
        "prompt": "p",
        "kind": kind,
        "sampling_temperature": sampling_temperature,
        "answer_token_ids": token_ids,
    }


def test_the_dense_text_is_intact():
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=byte_tokenizer(), eos_token=END)
    ids = tokenizer("so so")["input_ids"]
    answer = _answer("open_ended", 1.0, ids)
    equal = wording.Likelihoods(2.0, 2.0, 9.0)
    row = wording.as_row(answer, ids, equal, tokenizer, [2], THRESHOLDS)
    assert (row["verdict"], row["first_divergence"], row["equal_share"]) == ("intact", None, 1)


@pytest.mark.parametrize(
    ("dense", "written", "verdict"),
    [("B", " \n", "empty"), ("", "\n", "changed"), ("B", "!", "changed")],
)
def test_white_space_is_no_answer_where_dense_has_one(dense, written, verdict):
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=byte_tokenizer(), eos_token=END)
    end = tokenizer.eos_token_id
    answer = _answer("open_ended", 0.0, [*tokenizer(dense)["input_ids"], end])
    ids = [*tokenizer(written)["input_ids"], end]
    equal = wording.Likelihoods(2.0, 2.0, 9.0)
    row = wording.as_row(answer, ids, equal, tokenizer, [end], THRESHOLDS)
    assert row["verdict"] == verdict


def test_visible_replaces_invisible_characters():
    assert wording.visible("\x1b[31mred\x07\r\n\x00\x7f") == "␛[31mred␇␍\n␀␡"
    assert wording.visible("a\u202eb\u2066c\u200bd\ufeff\x9b") == (
        "a⟨U+202E⟩b⟨U+2066⟩c⟨U+200B⟩d⟨U+FEFF⟩⟨U+009B⟩"
    )
    assert wording.visible("\u2028\ud800\U000e0041\u3164") == ("⟨U+2028⟩⟨U+D800⟩⟨U+E0041⟩⟨U+3164⟩")
    visible_text = "<b>&amp; 二氧化碳。 naïve שלום 🙂\n  x == 'y'"
    assert wording.visible(visible_text) == visible_text


def test_no_invisible_character_remains():
    """Checked for all code points by Unicode properties from a separate library."""
    invisible = regex.compile(
        r"[\p{Cc}\p{Cs}\p{Bidi_Control}\p{Default_Ignorable_Code_Point}\p{Zl}\p{Zp}--\n]",
        regex.VERSION1,
    )
    shown = wording.visible("".join(map(chr, range(0x110000))))
    assert not invisible.search(shown)
    assert shown.encode()


def test_visible_text_is_not_changed_again():
    """The function is idempotent."""
    once = wording.visible("".join(map(chr, range(0x3000))))
    assert wording.visible(once) == once
