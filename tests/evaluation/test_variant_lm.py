"""Scores of a variant in memory equal those of lm-eval on the same rows, to the last digit."""

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from prunescope.evaluation import harness
from prunescope.evaluation.variant_lm import VariantLM, Written, written
from prunescope.measures import wording
from prunescope.model import edits, loading
from stock_lm_eval import FILES, stock
from task_inputs import SETTINGS, write_task
from tiny import ARCHITECTURES, make_tiny_model

BATCH = 4


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize("task", FILES)
def test_dense_scores_equal_lm_eval_to_the_last_digit(tmp_path, model_dir, task):
    rows_dir = write_task(tmp_path, task)
    lm = VariantLM(
        loading.load(model_dir, "float32", torch.device("cpu")),
        loading.load_tokenizer(model_dir),
        BATCH,
    )
    ours = harness.evaluate(lm, task, SETTINGS[task], rows_dir)
    theirs = stock(tmp_path, model_dir, task, rows_dir, BATCH)

    expected = theirs["results"][task]
    assert {f"{row['metric']},{row['filter']}" for row in ours.scores} == {
        key for key in expected if "," in key and "_stderr," not in key
    }
    for row in ours.scores:
        assert row["score"] == expected[f"{row['metric']},{row['filter']}"]
        error = expected[f"{row['metric']}_stderr,{row['filter']}"]
        assert row["standard_error"] == (error if isinstance(error, float) else None)
        assert row["n_items"] == theirs["n-samples"][task]["effective"]
    assert [row["headline"] for row in ours.scores].count(True) == 1
    samples = {(s["doc_id"], s["filter"]): s for s in theirs["samples"][task]}
    for row in ours.samples:
        sample = samples[row["item"], row["filter"]]
        value = sample[row["metric"]]
        assert row["outcome"] == (value[0] / value[1] if isinstance(value, tuple) else value)
        assert row["doc_hash"] == sample["doc_hash"]


@pytest.mark.parametrize("metric", ["acc", "acc_norm"])
def test_the_response_is_the_option_with_the_highest_score(tmp_path, model_dir, metric):
    """An item counts as right if and only if the named option is the right one."""
    rows_dir = write_task(tmp_path, "arc_easy", n_rows=40)
    lm = VariantLM(
        loading.load(model_dir, "float32", torch.device("cpu")),
        loading.load_tokenizer(model_dir),
        BATCH,
    )
    settings = {**SETTINGS["arc_easy"], "limit": "all"}
    samples = harness.evaluate(lm, "arc_easy", settings, rows_dir).samples
    mine = [row for row in samples if row["metric"] == metric]
    assert {row["outcome"] for row in mine} == {0.0, 1.0}
    assert all((row["response"] == row["target"]) == (row["outcome"] == 1.0) for row in mine)


def requests():
    """Contexts of several lengths, with one, two or four continuations of several lengths."""
    contexts = ["the fox", "a lighthouse keeper writes", "seven wagons with sixteen", "user"]
    ends = [" looks on", " a", " by the small station of the sea", " b"]
    pairs = [(text, end) for n, text in enumerate(contexts) for end in ends[: (1, 2, 4, 4)[n]]]
    return [
        Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=0, metadata=("t", i, 1))
        for i, pair in enumerate(pairs)
    ]


@pytest.mark.parametrize(
    "edit",
    [
        edits.Edit(),
        edits.Edit({"attn": (0,)}),
        edits.Edit({"mlp": (1,)}),
        edits.Edit({"block": (0, 2)}),
        edits.Edit({"attn": (0, 1, 2)}),
    ],
    ids=["dense", "attn", "mlp", "blocks", "all attn"],
)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_shared_contexts_give_the_likelihoods_of_whole_sequences(tmp_path, architecture, edit):
    folder = make_tiny_model(tmp_path, architecture)
    dense = loading.load(folder, "float32", torch.device("cpu"))
    tokenizer = loading.load_tokenizer(folder)
    variant = loading.apply_edit(dense, edit)
    ours = VariantLM(variant, tokenizer, 6).loglikelihood(requests())
    theirs = HFLM(pretrained=variant, tokenizer=tokenizer, batch_size=1).loglikelihood(
        requests(), disable_tqdm=True
    )
    assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]
    assert [score for score, _ in ours] == pytest.approx([s for s, _ in theirs], abs=1e-3)


def test_each_context_is_read_once(model_dir):
    """One pass reads each context once, and each continuation without its last token."""
    model = loading.load(model_dir, "float32", torch.device("cpu"))
    lm = VariantLM(model, loading.load_tokenizer(model_dir), 8)
    seen = []
    model.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    contexts, ends = [list(range(10, 30)), list(range(7))], [[40, 41, 42], [50], [60, 61]]
    lm._loglikelihood_tokens([(("", ""), each, end) for each in contexts for end in ends])
    assert seen == [20 + 7 + 2 * (2 + 0 + 1)]


def generations(n_shared):
    """Contexts of several lengths that begin alike with about so many tokens."""
    start = "the quick brown fox jumps over the lazy dog while a second fox looks on " * n_shared
    ends = ["seven wagons", "answer with one letter: a lighthouse keeper", "user", "the sea by a"]
    return [
        Instance(
            request_type="generate_until",
            doc={},
            arguments=(start + end, {"until": ["\n"], "do_sample": False, "max_gen_toks": 12}),
            idx=0,
            metadata=("t", i, 1),
        )
        for i, end in enumerate(ends)
    ]


@pytest.mark.parametrize("n_shared", [0, 2])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_shared_prefix_changes_no_text(tmp_path, architecture, n_shared):
    folder = make_tiny_model(tmp_path, architecture)
    model = loading.load(folder, "float32", torch.device("cpu"))
    tokenizer = loading.load_tokenizer(folder)
    ours = VariantLM(model, tokenizer, 3).generate_until(generations(n_shared))
    alone = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1)
    assert ours == alone.generate_until(generations(n_shared), disable_tqdm=True)


def test_a_shared_prefix_is_read_once(model_dir):
    """The first pass of a batch reads it, and no later pass does."""
    model = loading.load(model_dir, "float32", torch.device("cpu"))
    lm = VariantLM(model, loading.load_tokenizer(model_dir), 4)
    seen = []
    model.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    lm.generate_until(generations(2))
    lengths = sorted(len(lm.tok_encode(request.args[0])) for request in generations(2))
    (one, n_shared), *rest = seen
    assert one == 1
    assert n_shared >= 16
    assert rest[0] == (4, lengths[3] - n_shared)
    assert all(n_tokens == 1 for _, n_tokens in rest[1:])


def test_stored_tokens_decode_to_the_stored_text(model_dir):
    """Tokens of each request begin with its text, and their number is at most the limit."""
    lm = VariantLM(
        loading.load(model_dir, "float32", torch.device("cpu")),
        loading.load_tokenizer(model_dir),
        3,
    )
    said = lm.generate_until(generations(1))
    kept = [lm.written[request.args[0]] for request in generations(1)]
    assert len({tuple(each.token_ids) for each in kept}) > 1
    for text, each in zip(said, kept, strict=True):
        assert lm.tok_decode(each.token_ids).startswith(text)
        assert len(lm.tok_decode(each.token_ids[:-1])) <= len(text)
        assert len(each.token_ids) == 12 or each.stopped


END = 0
WORDS = {END: "", 1: "one", 2: " two", 3: "\n", 4: " three", 5: ".\n\n"}


@pytest.mark.parametrize(
    ("text", "generated", "token_ids", "stopped"),
    [
        ("one two three", [1, 2, 4], [1, 2, 4], False),
        ("one two", [1, 2, 3, 4], [1, 2, 3], True),  # cut at a new line, the row went on
        ("one two", [1, 2, END, END], [1, 2, END], True),
        ("one.", [1, 5, 2], [1, 5], True),  # what ended it stands in its last token
        ("", [END, END], [END], True),
        ("", [3, 1], [3], True),
    ],
)
def test_stored_tokens_include_the_end_token(text, generated, token_ids, stopped):
    def decode(ids):
        return "".join(WORDS[token] for token in ids)

    assert written(text, generated, [END], decode) == Written(token_ids, stopped)


def test_generated_samples_have_repetition_measures(tmp_path, model_dir):
    """Samples of multiple-choice tasks have none."""
    lm = VariantLM(
        loading.load(model_dir, "float32", torch.device("cpu")),
        loading.load_tokenizer(model_dir),
        4,
    )
    asked = {task: write_task(tmp_path, task) for task in ("squad", "arc_easy")}
    said = {
        task: harness.evaluate(lm, task, SETTINGS[task], rows_dir).samples
        for task, rows_dir in asked.items()
    }
    assert {row["token_ids"] for row in said["arc_easy"]} == {None}
    for row in said["squad"]:
        text = lm.tok_decode(row["token_ids"])
        assert text.startswith(row["response"])
        assert {name: row[name] for name in wording.Wording._fields} == wording.wording(
            row["token_ids"]
        )._asdict()
        assert row["stopped"] == (row["n_tokens"] < 8 or text != row["response"])
