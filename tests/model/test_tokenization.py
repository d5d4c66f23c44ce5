"""All stages tokenize as tokenizer.json says; users' texts contain no special tokens."""

import datetime
import json
from unittest import mock

import pytest
import torch
from lm_eval.api.instance import Instance
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    normalizers,
    pre_tokenizers,
    processors,
)
from tokenizers.models import BPE, Unigram, WordPiece
from transformers import GenerationConfig
from transformers.utils import chat_template_utils

from prunescope.compression import calibration
from prunescope.evaluation import text_embedding
from prunescope.evaluation.variant_lm import VariantLM
from prunescope.model import loading, prompts, tokenization
from prunescope.progress import JobError
from prunescope.tracing import options
from tiny import make_tiny_model

CPU = torch.device("cpu")
HOSTILE = "the </s> sea <s> and <pad>"


@pytest.fixture
def folder(tmp_path):
    return make_tiny_model(tmp_path / "m")


def with_template(folder, template):
    (folder / "chat_template.jinja").write_text(template)
    return loading.load_tokenizer(folder)


def changed(folder, name, **values):
    file = folder / name
    found = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps({**found, **values}))


def other_pre_tokenizer(folder, pre_tokenizer):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.save(str(folder / "tokenizer.json"))


BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False)
SPLITS = {
    "digits": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), BYTES]),
    "prefix space": pre_tokenizers.ByteLevel(add_prefix_space=True),
    "punctuation": pre_tokenizers.Sequence([pre_tokenizers.Punctuation(), BYTES]),
}


@pytest.mark.parametrize("named", ["GPT2Tokenizer", "LlamaTokenizer", "Qwen2Tokenizer", None])
@pytest.mark.parametrize("split", SPLITS)
def test_every_stage_tokenizes_by_tokenizer_json(folder, split, named):
    """The class in tokenizer_config.json does not matter; calibration and prompts agree."""
    other_pre_tokenizer(folder, SPLITS[split])
    changed(folder, "tokenizer_config.json", tokenizer_class=named)
    said = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer = loading.load_tokenizer(folder)
    for text in tokenization.PROBES:
        ids = said.encode(text).ids
        assert list(tokenizer(text)["input_ids"]) == ids
        assert calibration.encoder(folder / "tokenizer.json")([text]) == [ids]
        assert text_embedding.encoder(folder / "tokenizer.json", 4096)([text]) == [ids]
    assert not tokenization.differences(tokenization.load(folder), folder)


def adding(folder, template):
    """tokenizer.json puts the tokens of a template around a text, or none."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    if template is not None:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=template, special_tokens=[("<s>", 1), ("</s>", 2)]
        )
    tokenizer.save(str(folder / "tokenizer.json"))


@pytest.mark.parametrize("named", ["LlamaTokenizer", "PreTrainedTokenizerFast", None])
@pytest.mark.parametrize(
    ("key", "says", "template", "message"),
    [
        ("add_bos_token", True, None, "puts no <s> before a text"),
        ("add_bos_token", True, "$A </s>", "puts no <s> before a text"),
        ("add_bos_token", False, "<s> $A", "puts <s> before a text"),
        ("add_eos_token", True, "<s> $A", "puts no </s> after a text"),
        ("add_eos_token", False, "<s> $A </s>", "puts </s> after a text"),
    ],
)
def test_a_contradiction_about_added_tokens_is_refused(folder, key, says, template, message, named):
    """Releases of transformers take one or the other; the model was trained with one."""
    adding(folder, template)
    changed(folder, "tokenizer_config.json", tokenizer_class=named, **{key: says})
    with pytest.raises(JobError, match=f"says {key}: {says}, but".lower()) as failure:
        tokenization.load(folder)
    assert message in str(failure.value)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("settings", "template"),
    [
        ({}, None),
        ({}, "<s> $A </s>"),
        ({"add_bos_token": None}, "<s> $A"),
        ({"add_bos_token": False, "add_eos_token": False}, None),
        ({"add_bos_token": True, "add_eos_token": False}, "<s> $A"),
        ({"add_bos_token": True, "add_eos_token": True}, "<s> $A </s>"),
        ({"add_bos_token": True, "bos_token": None}, None),  # there is none to add
    ],
)
def test_added_tokens_on_which_both_files_agree_are_read(folder, settings, template):
    adding(folder, template)
    changed(folder, "tokenizer_config.json", **settings)
    ids = Tokenizer.from_file(str(folder / "tokenizer.json")).encode("the fox").ids
    tokenizer = tokenization.load(folder)
    assert tokenization.text_ids(tokenizer, "the fox", add_special_tokens=True) == ids
    assert calibration.encoder(folder / "tokenizer.json")(["the fox"]) == [ids]


def test_truncation_in_tokenizer_json_is_ignored(folder):
    """sentence-transformers saves tokenizers that cut and pad."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=64)
    tokenizer.save(str(folder / "tokenizer.json"))
    text = "the quick brown fox jumps over the lazy dog"
    ids = list(loading.load_tokenizer(folder)(text)["input_ids"])
    assert 4 < len(ids) < 64
    assert calibration.encoder(folder / "tokenizer.json")([text]) == [ids]


def test_a_wordpiece_vocabulary_is_supported(folder):
    tokenizer = Tokenizer(WordPiece({"[UNK]": 0, "the": 1, "sea": 2, "##s": 3}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"unk_token": "[UNK]"}))
    assert calibration.encoder(folder / "tokenizer.json")(["The seas"]) == [[1, 2, 3]]
    assert list(loading.load_tokenizer(folder)("The seas")["input_ids"]) == [1, 2, 3]


def special_ids(folder):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return {id for id, token in tokenizer.get_added_tokens_decoder().items() if token.special}


def test_special_tokens_in_a_text_are_text(folder):
    """In calibration text, task contexts, documents and prompts, which keep their characters."""
    specials = special_ids(folder)
    tokenizer = loading.load_tokenizer(folder)
    for ids in (
        calibration.encoder(folder / "tokenizer.json")([HOSTILE])[0],
        text_embedding.encoder(folder / "tokenizer.json", 64)([HOSTILE])[0],
        tokenizer(HOSTILE)["input_ids"],
        tokenization.text_ids(tokenizer, HOSTILE),
    ):
        assert not specials & set(ids)
        assert tokenizer.decode(ids) == HOSTILE


def test_special_tokens_of_the_template_remain_special(folder):
    tokenizer = loading.load_tokenizer(folder)
    plain, hostile = (prompts.prompt_token_ids(tokenizer, text) for text in ("sea", HOSTILE))
    begin = tokenizer.bos_token_id
    assert plain.count(begin) == hostile.count(begin) == 1
    assert HOSTILE in tokenizer.decode(hostile)


@pytest.mark.parametrize("text", ["<s>", "<s>user: ", "</s>", "a</s>hi <s>user", "<pad>\n"])
def test_text_equal_to_a_part_of_the_template_remains_text(folder, text):
    """The only special token is that of the template, wherever the text is inserted."""
    tokenizer = loading.load_tokenizer(folder)
    ids = prompts.prompt_token_ids(tokenizer, text)
    assert [place for place, id in enumerate(ids) if id in special_ids(folder)] == [0]
    assert tokenizer.decode(ids) == f"<s>user: {text}\nassistant: "


def sentencepiece(folder, model):
    """A tokenizer whose model has the special tokens in its own vocabulary, as sentencepiece's."""
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(names))


LETTERS = ["<unk>", "<s>", "</s>", "▁", "\n", *map(chr, range(33, 127))]
MODELS = {
    "unigram": Unigram([(letter, 0.0 if len(letter) > 1 else -5.0) for letter in LETTERS], 0),
    "bpe": BPE({letter: i for i, letter in enumerate(LETTERS)}, [], unk_token="<unk>"),
    "bpe, a merge makes </s>": BPE(
        {letter: i for i, letter in enumerate([*LETTERS, "</", "s>"])},
        [("<", "/"), ("s", ">"), ("</", "s>")],
        unk_token="<unk>",
    ),
}


@pytest.mark.parametrize("model", MODELS)
def test_special_tokens_in_the_base_vocabulary_are_text(folder, model):
    sentencepiece(folder, MODELS[model])
    tokenizer = loading.load_tokenizer(folder)
    text = "a</s>hi"
    for ids in (
        calibration.encoder(folder / "tokenizer.json")([text])[0],
        tokenization.text_ids(tokenizer, text),
    ):
        assert not special_ids(folder) & set(ids)
        assert tokenizer.decode(ids) == text
    asked = prompts.prompt_token_ids(tokenizer, text)
    assert [id for id in asked if id in special_ids(folder)] == [1]
    assert text in tokenizer.decode(asked)


def test_alternative_names_of_special_tokens_are_text(folder):
    """The name would otherwise be read as the token."""
    text = tokenization._RENAMED.format("</s>")
    tokenizer = loading.load_tokenizer(folder)
    for read in (
        lambda: calibration.encoder(folder / "tokenizer.json")([text]),
        lambda: text_embedding.encoder(folder / "tokenizer.json", 64)([text]),
        lambda: tokenization.text_ids(tokenizer, text),
        lambda: prompts.prompt_token_ids(tokenizer, text),
    ):
        with pytest.raises(JobError, match="private characters"):
            read()


def test_a_special_token_in_a_text_does_not_change_its_neighbours(folder):
    """Metaspace marks only the first word: no mark is added between template and text."""
    sentencepiece(folder, MODELS["bpe"])
    tokenizer = with_template(folder, "[I]{{ messages[0].content }}[/I]")
    tokens = tokenizer.convert_ids_to_tokens(prompts.prompt_token_ids(tokenizer, "x</s>y"))
    assert tokens == ["▁", *"[I]x</s>y[/I]"]


@pytest.mark.parametrize("key", ["eos_token", "bos_token"])
def test_a_token_missing_from_tokenizer_json_is_refused(folder, key):
    changed(folder, "tokenizer_config.json", **{key: "<|nowhere|>"})
    with pytest.raises(JobError, match=r"<\|nowhere\|>, which tokenizer.json lacks"):
        loading.load_tokenizer(folder)


def test_a_padding_token_missing_from_tokenizer_json_is_replaced(folder):
    """Padding is masked, so any token with an embedding will do."""
    changed(folder, "tokenizer_config.json", pad_token="<|nowhere|>")
    assert loading.load_tokenizer(folder).pad_token == "</s>"


def test_texts_of_tasks_are_tokenized_like_all_others(folder):
    """lm-eval treats a text that begins with the characters of <s> as rendered."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    encode = calibration.encoder(folder / "tokenizer.json")
    lm = VariantLM(loading.load(folder, "float32", CPU), loading.load_tokenizer(folder), 2)
    texts = ["<s> the sea", "fox"]
    longest = max(map(len, encode(texts)))
    ids, mask = lm.tok_batch_encode(texts)
    for text, row, read in zip(texts, ids, mask, strict=True):
        assert lm.tok_encode(text) == encode([text])[0]
        assert row[read.bool()].tolist() == encode([text])[0]
    assert ids.shape == mask.shape == (2, longest)


def test_tasks_run_without_beginning_and_end_tokens(folder):
    """Text after a context is scored, without one refused; generation ends by length."""
    for name in ("tokenizer_config.json", "config.json", "generation_config.json"):
        without = json.loads((folder / name).read_text())
        for token in ("bos", "eos"):
            without.pop(f"{token}_token", None)
            without.pop(f"{token}_token_id", None)
        (folder / name).write_text(json.dumps(without))
    model = loading.load(folder, "float32", CPU)
    lm = VariantLM(model, loading.load_tokenizer(folder), 2)

    def request(kind, *arguments):
        return Instance(request_type=kind, doc={}, arguments=arguments, idx=0)

    ((likelihood, _),) = lm.loglikelihood([request("loglikelihood", "the sea", " fox")])
    context, whole = lm.tok_encode("the sea"), lm.tok_encode("the sea fox")
    log_p = model(torch.tensor([whole])).logits[0].log_softmax(-1)
    places = range(len(context) - 1, len(whole) - 1)
    assert likelihood == pytest.approx(sum(log_p[i, whole[i + 1]].item() for i in places), rel=1e-5)
    how = {"until": ["\n"], "max_gen_toks": 4}
    lm.generate_until([request("generate_until", "the sea", how)])
    assert lm.written["the sea"].token_ids
    with pytest.raises(JobError, match="neither a begin nor an end"):
        lm.loglikelihood([request("loglikelihood", "", " fox")])


def test_special_tokens_around_an_embedded_text_remain_special(folder):
    file = folder / "tokenizer.json"
    end = Tokenizer.from_file(str(file)).token_to_id("</s>")
    assert text_embedding.encoder(file, 64, ends_with="</s>")(["sea </s>"])[0].count(end) == 1
    assert text_embedding.encoder(file, 64, starts_with="<s>")(["sea"])[0][0] == 1
    hostile = text_embedding.encoder(file, 64, starts_with="<s>")([HOSTILE])[0]
    assert hostile[0] == 1
    assert not special_ids(folder) & set(hostile[1:])
    assert text_embedding.encoder(file, 4, starts_with="<s>")([HOSTILE])[0] == hostile[:4]


def test_the_beginning_token_is_added_as_in_tokenizer_json(folder):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").unlink()
    loaded = loading.load_tokenizer(folder)
    assert prompts.prompt_token_ids(loaded, "sea")[0] == 1
    assert prompts.prompt_token_ids(loaded, "sea").count(1) == 1
    assert calibration.encoder(folder / "tokenizer.json")(["sea"])[0][0] == 1


@pytest.mark.parametrize("end", ["<|im_end|>", "<|eot|>", "</s>"])
def test_the_separator_is_that_of_the_tokenizer(folder, end):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_special_tokens([AddedToken(end, special=True)])
    tokenizer.save(str(folder / "tokenizer.json"))
    changed(folder, "tokenizer_config.json", eos_token=end)
    assert tokenization.separator(folder) == tokenizer.token_to_id(end)


def without_ends(folder):
    for file in ("tokenizer_config.json", "config.json", "generation_config.json"):
        found = json.loads((folder / file).read_text())
        for key in ("eos_token", "pad_token", "eos_token_id", "pad_token_id"):
            found.pop(key, None)
        (folder / file).write_text(json.dumps(found))


def test_the_end_token_of_the_model_is_the_fallback_separator(folder):
    without_ends(folder)
    assert tokenization.separator(folder) is None
    changed(folder, "generation_config.json", eos_token_id=[2, 5])
    assert tokenization.separator(folder) == 2


def test_a_model_without_an_end_token_writes_up_to_the_limit(folder):
    """In a batch with two lengths, the padding token is ignored."""
    without_ends(folder)
    model, tokenizer = loading.load(folder, "float32", CPU), loading.load_tokenizer(folder)
    asked = [prompts.Asked("a", 0.0, [5, 6]), prompts.Asked("b", 0.0, [5, 6, 7])]
    answers = prompts.answers(model, tokenizer, asked, 4, 0)
    assert [len(answer) for answer in answers] == [4, 4]
    assert [prompts.answers(model, tokenizer, [a], 4, 0)[0] for a in asked] == answers


def test_tokens_without_an_embedding_are_refused(folder):
    model, tokenizer = loading.load(folder, "float32", CPU), loading.load_tokenizer(folder)
    with pytest.raises(JobError, match="prompt a holds token 999, but the model has"):
        prompts.answers(model, tokenizer, [prompts.Asked("a", 0.0, [5, 999])], 2, 0)


LOOP = "{% for m in messages %}"
TEMPLATES = {
    "parts": LOOP + "<s>{{ m.content[0].text }}{% endfor %}",
    "strips parts": LOOP + "<s>{{ m.content[0].text.strip() }}{% endfor %}",
    "strips": LOOP + "<s>{{ m.content | trim }}{% endfor %}",
    "no generation prompt": LOOP + "[INST] {{ m.content }} [/INST]{% endfor %}",
}


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_contains_the_text(folder, template):
    tokenizer = with_template(folder, TEMPLATES[template])
    assert "hello there" in tokenizer.decode(prompts.prompt_token_ids(tokenizer, " hello there "))


REFUSED = {
    "leaves the text out": "hello",
    "changes the text": LOOP + "{{ m.content | upper }}{% endfor %}",
    "a syntax error": LOOP + "{{ m.content }",
    "wants a system role": "{{ raise_exception('System role required') }}",
    "draws lots": "{{ range(1) | random }}" + LOOP + "{{ m.content }}{% endfor %}",
    "shows an address": "{{ raise_exception }}" + LOOP + "{{ m.content }}{% endfor %}",
    "fails": "{{ 1 / 0 }}" + LOOP + "{{ m.content }}{% endfor %}",
    "holds the prompt by chance": "the sea",
}


@pytest.mark.parametrize("template", REFUSED)
def test_a_template_without_the_text_is_refused(folder, template):
    tokenizer = with_template(folder, REFUSED[template])
    with pytest.raises(JobError, match=r"chat template of .* (renders|does not)"):
        prompts.prompt_token_ids(tokenizer, "sea")


@pytest.mark.parametrize(
    "template",
    [
        "{% if messages | length > 1 %}{{ raise_exception('one message') }}{% endif %}"
        "{{ messages[0].content }} assistant:",
        LOOP + "{{ m.role }}: {{ m.content[0].text.strip() }}\n{% endfor %}",
    ],
)
def test_options_reach_templates_of_every_form(folder, template):
    tokenizer = with_template(folder, template)
    asked = prompts.prompt_token_ids(tokenizer, "Which? A) ladder B) violin")
    assert tokenizer.decode([options.option_token(tokenizer, asked, "A")]).strip() == "A"


def test_a_template_can_be_in_its_own_file(folder):
    """Processors save chat_template.json."""
    (folder / "chat_template.jinja").unlink()
    changed(folder, "chat_template.json", chat_template="<s>{{ messages[0].content }}!")
    tokenizer = loading.load_tokenizer(folder)
    assert tokenizer.decode(prompts.prompt_token_ids(tokenizer, "sea")) == "<s>sea!"


def test_a_prompt_without_tokens_is_refused(folder):
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(JobError, match="has no token"):
        prompts.prompt_token_ids(loading.load_tokenizer(folder), "")


def on_day(day):
    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 5, day)

    return mock.patch.object(chat_template_utils, "datetime", Clock)


def test_templates_always_get_the_same_date(folder):
    template = "{{ strftime_now('%d %b %Y %H:%M') }}" + LOOP + "{{ m.content }}{% endfor %}"
    (folder / "chat_template.jinja").write_text(template)
    chosen = loading.load_tokenizer(folder, {"date": "2024-07-26"})
    rendered = set()
    for day in (1, 2):
        with on_day(day):
            rendered.add(prompts.render(chosen, "sea"))
    assert rendered == {"26 Jul 2024 00:00sea"}


THINKING = (
    LOOP + "{{ m.content }}{% endfor %}{% if add_generation_prompt %}<think>"
    "{% if enable_thinking is defined and not enable_thinking %}\n\n</think>\n\n{% endif %}"
    "{% endif %}"
)


def test_thinking_is_off_unless_config_turns_it_on(folder):
    tokenizer = with_template(folder, THINKING)
    assert not prompts.opens_thinking(tokenizer, prompts.prompt_token_ids(tokenizer, "sea"))
    on = loading.load_tokenizer(folder, {"chat_template_kwargs": {"enable_thinking": True}})
    assert prompts.opens_thinking(on, prompts.prompt_token_ids(on, "sea"))


def test_a_prompt_longer_than_the_context_is_refused_by_name():
    asked = [prompts.Asked("long", 0.0, [1] * 45)]
    prompts.check_lengths(asked, 3, 48)
    prompts.check_lengths(asked, 300, None)
    with pytest.raises(JobError, match="prompt long has 45 tokens and its answer up to 4"):
        prompts.check_lengths(asked, 4, 48)


NOT_ARGMAX = {
    "repetition_penalty": 3.0,
    "no_repeat_ngram_size": 1,
    "suppress_tokens": list(range(50, 300)),
    "begin_suppress_tokens": list(range(100, 300)),
    "bad_words_ids": [[token] for token in range(3, 200)],
    "num_beams": 4,
    "do_sample": True,
    "temperature": 5.0,
    "top_k": 1,
    "min_new_tokens": 9,
    "forced_eos_token_id": 2,
    "forced_bos_token_id": 3,
    "max_length": 5,
    "exponential_decay_length_penalty": [2, 5.0],
    "sequence_bias": [[[17], 99.0]],
    "guidance_scale": 2.0,
    "use_cache": False,
    "cache_implementation": "static",
    "renormalize_logits": True,
    "max_time": 1e-9,
    "stop_strings": ["a", "e"],
    "prompt_lookup_num_tokens": 3,
}


@pytest.mark.parametrize("name", NOT_ARGMAX)
def test_generation_settings_of_the_checkpoint_are_ignored(folder, name):
    """Greedy answers are the argmax of logits from a single pass."""
    changed(folder, "generation_config.json", **{name: NOT_ARGMAX[name]})
    model, tokenizer = loading.load(folder, "float32", CPU), loading.load_tokenizer(folder)
    assert getattr(model.generation_config, name, None) in (None, getattr(GenerationConfig(), name))
    prompt = [5, 6, 7, 8]
    (answer,) = prompts.answers(model, tokenizer, [prompts.Asked("a", 0.0, prompt)], 8, 0)
    read = torch.tensor([prompt + answer[:-1]])
    assert model(read).logits[0, len(prompt) - 1 :].argmax(-1).tolist() == answer


def test_only_end_tokens_of_the_generation_config_are_kept(folder):
    changed(folder, "generation_config.json", eos_token_id=[2, 7], repetition_penalty=2.0)
    model = loading.load(folder, "float32", CPU)
    assert prompts.end_of_text(model, loading.load_tokenizer(folder)) == [2, 7]


@pytest.mark.parametrize("ends", [2.0, "</s>", True, -1, 320, [2, 320], [2, "</s>"], [[2]]])
def test_an_end_of_text_that_is_no_token_is_refused(folder, ends):
    """No answer would end with it, or generation would stop with a message of a library."""
    model = loading.load(folder, "float32", CPU)
    model.generation_config.eos_token_id = ends
    with pytest.raises(
        JobError, match=r"eos_token_id is .* whole numbers from 0 to \d+\."
    ) as failure:
        prompts.end_of_text(model, loading.load_tokenizer(folder))
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(("ends", "known"), [([], []), (None, [2]), (0, [0]), ([7, 2], [7, 2])])
def test_ends_of_text_are_those_of_the_generation_config(folder, ends, known):
    """Token 0 is a token, and an empty list says that no token ends a text."""
    model = loading.load(folder, "float32", CPU)
    model.generation_config.eos_token_id = ends
    assert prompts.end_of_text(model, loading.load_tokenizer(folder)) == known


def test_an_empty_list_of_ends_names_no_separator(folder):
    changed(folder, "tokenizer_config.json", eos_token=None)
    changed(folder, "generation_config.json", eos_token_id=[])
    changed(folder, "config.json", eos_token_id=[2])
    assert tokenization.separator(folder) == 2


@pytest.mark.parametrize("content", ["{}", "[]", "not json", '{"model": {"type": "BPE"}}'])
def test_a_tokenizer_json_that_makes_no_tokenizer_is_refused_in_one_line(folder, content):
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(JobError, match="makes no tokenizer") as failure:
        tokenization.load(folder)
    assert "\n" not in str(failure.value)


def test_a_tokenizer_that_drops_merges_at_random_is_refused(folder):
    """BPE dropout: the same text would be read in another way by every stage."""
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["dropout"] = 0.1
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(JobError, match=r"another way each time \(dropout 0.1"):
        tokenization.load(folder)


def test_a_padding_token_that_only_the_config_names_needs_no_embedding(folder):
    """Padding is masked and is another token; the string in a text is text."""
    known = Tokenizer.from_file(str(folder / "tokenizer.json"))
    changed(folder, "tokenizer_config.json", pad_token="<|pad|>")
    tokenizer = tokenization.load(folder)
    assert tokenizer.pad_token == "</s>"
    assert len(tokenizer) == known.get_vocab_size() + 1
    assert tokenization.n_tokens(folder / "tokenizer.json") == known.get_vocab_size()
    ids = tokenization.text_ids(tokenizer, "sea <|pad|> fox")
    assert ids == known.encode("sea <|pad|> fox").ids
