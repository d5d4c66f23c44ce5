"""Table `matched_samples` follows from the rows, the model folder and the edit."""

import pyarrow as pa
import pytest
import torch
from test_matched_formats import GSM8K, HUMANEVAL, SQUAD

import run_matched_formats as script
from prunescope.evaluation import matched_formats, matched_questions
from prunescope.evaluation.variant_lm import VariantLM
from prunescope.model import edits, loading
from prunescope.progress import JobError
from prunescope.sandbox import starter
from prunescope.storage import store
from tiny import make_tiny_model

ROWS = {
    "squad": ("validation", SQUAD),
    "gsm8k": ("test", [{**GSM8K, "answer": f"It is {n}.\n#### {n}"} for n in range(6)]),
    "humaneval": (
        "test",
        [{**HUMANEVAL, "canonical_solution": f"    return sum(numbers) + {n}\n"} for n in range(6)],
    ),
}
SETTINGS = {
    "sources": {source: {"n_items": 5, "max_new_tokens": 6} for source in ROWS},
    "n_candidates": 3,
    "batch_size": 4,
    "run_code": False,
    "seed": 0,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Rows of the table for an edit; the folder of the tiny model."""
    folder = tmp_path_factory.mktemp("matched")
    model_dir = make_tiny_model(folder / "model")
    for source, (split, rows) in ROWS.items():
        (folder / source).mkdir()
        store.write_parquet(folder / source / f"{split}.parquet", pa.Table.from_pylist(rows))

    def matched(edit, **changes):
        edits.write(folder / "edit.safetensors", edit, {})
        script.run_matched_formats(
            loading.VariantSource(
                str(model_dir), str(folder / "edit.safetensors"), "float32", threads=1
            ),
            rows_dirs={source: str(folder / source) for source in ROWS},
            samples_file=str(folder / "part.parquet"),
            settings=matched_questions.MatchedSettings(**{**SETTINGS, **changes}),
            made_by={},
        )
        return store.read(folder / "part.parquet", "matched_samples").to_pylist()

    return matched, model_dir


def test_every_item_appears_in_every_format(run):
    matched, _ = run
    rows = matched(edits.Edit({}))
    keys = {(row["source"], row["item"], row["format"]) for row in rows}
    assert len(keys) == len(rows) == 3 * 5 * 3
    asked = {(source, item) for source, item, _ in keys}
    formats = ("retrieval", "multiple_choice", "generation")
    assert keys == {(*pair, format_) for pair in asked for format_ in formats}
    for row in rows:
        ranked = row["format"] != "generation"
        assert (row["rank"] is not None) == (row["margin"] is not None) == ranked
        assert (row["correct"] is None) == (row["source"] == "humaneval" and not ranked)


def test_variants_get_the_same_questions_and_answer_differently(run):
    matched, _ = run
    dense, again = (matched(edits.Edit({})) for _ in range(2))
    variant = matched(edits.Edit({"block": (1,)}))
    assert dense == again
    keys = ("source", "item", "format", "n_candidates")
    assert [[row[k] for k in keys] for row in dense] == [[row[k] for k in keys] for row in variant]
    assert any(a["margin"] != b["margin"] for a, b in zip(dense, variant, strict=True))
    assert any(a["text"] != b["text"] for a, b in zip(dense, variant, strict=True))


def test_values_equal_those_of_plain_forward_passes(run):
    """Log-likelihood, embedding and greedy text, from one unbatched forward pass per step."""
    _, model_dir = run
    model = loading.load(model_dir, "float32", torch.device("cpu"))
    tokenizer = loading.load_tokenizer(model_dir)
    lm = VariantLM(model, tokenizer, batch_size=4)
    drawn = matched_formats.draw_items("squad", SQUAD, 4, 0)
    questions = [item.question for item in drawn]
    found = matched_questions.likelihoods(lm, [(q, [i.answer for i in drawn]) for q in questions])
    embedded = matched_questions.embeddings(lm, questions)
    texts = matched_questions.generated(lm, questions, ("\n",), 5)
    for place, question in enumerate(questions):
        read = tokenizer(question)["input_ids"]
        for other, item in enumerate(drawn):
            said = tokenizer(item.answer, add_special_tokens=False)["input_ids"]
            log_p = model(torch.tensor([read + said])).logits[0].double().log_softmax(-1)
            wanted = sum(log_p[len(read) - 1 + step, token] for step, token in enumerate(said))
            assert found[place][other] == pytest.approx(float(wanted), abs=1e-3)
        closed = tokenizer(question + matched_formats.CLOSING)["input_ids"]
        h = model.base_model(torch.tensor([closed])).last_hidden_state[0, -1]
        assert embedded[place] == pytest.approx(h.numpy(), abs=1e-4)
        written = list(read)
        for _ in range(5):
            written.append(int(model(torch.tensor([written])).logits[0, -1].argmax()))
            if written[-1] == tokenizer.eos_token_id:
                break
        said = tokenizer.decode(written[len(read) :], skip_special_tokens=True)
        assert texts[place] == said.partition("\n")[0]


def test_programs_run_only_after_the_sandbox_is_verified(run, monkeypatch):
    """If verification fails, no program runs at all."""
    matched, _ = run
    asked = []
    monkeypatch.setattr(starter, "prove", lambda: asked.append("prove"))
    wrong = starter.Outcome(False, "wrong")
    monkeypatch.setattr(starter, "run", lambda program, tests: (asked.append(program), wrong)[1])
    rows = matched(edits.Edit({}), run_code=True)
    written = [r for r in rows if r["source"] == "humaneval" and r["format"] == "generation"]
    assert [row["correct"] for row in written] == [False] * 5
    assert asked[0] == "prove"
    assert len(asked) == 1 + 5
    assert all(row["text"] in program for row, program in zip(written, asked[1:], strict=True))

    def refuse():
        raise starter.SandboxError("leaks")

    monkeypatch.setattr(starter, "prove", refuse)
    with pytest.raises(starter.SandboxError, match="leaks"):
        matched(edits.Edit({}), run_code=True)


def test_a_question_longer_than_the_context_is_refused_with_its_item(tmp_path, run):
    """Truncation would change the question; one that just fits is accepted."""
    _, model_dir = run
    model = loading.load(model_dir, "float32", torch.device("cpu"))
    lm = VariantLM(model, loading.load_tokenizer(model_dir), 4)
    items = matched_formats.draw_items("squad", SQUAD, 3, 0)
    longest = max(items, key=lambda item: len(lm.tok_encode(item.question)))
    needed = len(lm.tok_encode(longest.question)) + 64
    for positions in (needed, needed - 1):
        model.config.max_position_embeddings = positions
        lm = VariantLM(model, loading.load_tokenizer(model_dir), 4)
        if positions == needed:
            matched_questions.check_lengths(lm, "squad", items, 64)
        else:
            with pytest.raises(JobError, match=rf"sources/squad: .* item {longest.item} has"):
                matched_questions.check_lengths(lm, "squad", items, 64)
