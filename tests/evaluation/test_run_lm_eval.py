"""If a task fails, the results of the others are kept, and a killed job resumes."""

import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import run_lm_eval
from prunescope.evaluation import harness, suites
from prunescope.evaluation.variant_lm import VariantLM
from prunescope.model import edits, loading
from prunescope.paths import ROOT
from prunescope.progress import JobError
from prunescope.sandbox import starter
from prunescope.storage import digests, finished, store
from task_inputs import SETTINGS, write_task
from tiny import make_tiny_model
from tiny_inputs import names_below

TASKS = ("arc_easy", "boolq", "squad")


@pytest.fixture
def job(tmp_path):
    """Everything a job of three tasks reads, and how to run it."""
    make_tiny_model(tmp_path / "model")
    edits.write(tmp_path / "edit.safetensors", edits.Edit({"attn": (1,)}), {"rule": "test"})
    for task in TASKS:
        write_task(tmp_path, task)
    return Job(tmp_path)


class Job:
    def __init__(self, folder):
        self.folder = folder
        self.scores = folder / "out/task_scores/part.parquet"
        self.samples = folder / "out/task_samples/part.parquet"

    def arguments(self, tasks=None, **decides):
        tasks = tasks or {task: SETTINGS[task] for task in TASKS}
        return {
            "source": loading.VariantSource(
                str(self.folder / "model"), str(self.folder / "edit.safetensors"), "float32", 1
            ),
            "rows_dirs": {name: str(self.folder / f"task={name}") for name in tasks},
            "scores_file": str(self.scores),
            "samples_file": str(self.samples),
            "tasks": tasks,
            "batch_size": 4,
            "decides": {"code": "1", **decides},
            "made_by": {"rule": "run_lm_eval"},
        }

    def run(self, tasks=None, **decides):
        run_lm_eval.run_lm_eval(**self.arguments(tasks, **decides))
        return store.read(self.scores, "task_scores").to_pylist()

    def tables(self):
        rows = store.read(self.scores, "task_scores").drop_columns("seconds").to_pylist()
        return rows, store.read(self.samples, "task_samples").to_pylist()


def test_every_score_is_the_mean_of_its_items(job):
    job.run()
    scores, samples = job.tables()
    assert {row["task"] for row in scores} == set(TASKS)
    for row in scores:
        mine = [
            s["outcome"]
            for s in samples
            if (s["task"], s["metric"], s["filter"]) == (row["task"], row["metric"], row["filter"])
        ]
        assert len(mine) == row["n_items"] > 0
        assert row["score"] == pytest.approx(sum(mine) / len(mine))
    assert names_below(job.folder / "out") == [
        "task_samples",
        "task_samples/part.parquet",
        "task_scores",
        "task_scores/part.parquet",
    ]


def test_chance_is_one_divided_by_the_number_of_options(job):
    """With four options, with two options, and for generated text, which has a chance of zero."""
    job.run()
    _, samples = job.tables()
    chances = {task: {s["chance"] for s in samples if s["task"] == task} for task in TASKS}
    assert chances == {"arc_easy": {0.25}, "boolq": {0.5}, "squad": {0.0}}


def test_a_failing_task_fails_the_job_but_other_tasks_are_kept(job, monkeypatch):
    """The failed task is not stored as finished, and no other task is computed twice."""
    three = {name: SETTINGS[name] for name in ("arc_easy", "boolq", "squad")}
    job.run(three)
    expected = job.tables()
    job.scores.unlink()
    job.samples.unlink()
    broken = {**three, "boolq": {**SETTINGS["boolq"], "headline": "bleu"}}
    with pytest.raises(JobError, match=r"1 of 3 tasks.*tasks/boolq/headline is 'bleu'.*acc,none"):
        job.run(broken)
    assert not job.scores.exists()
    assert not job.samples.exists()
    evaluated = []
    evaluate = harness.evaluate
    monkeypatch.setattr(
        harness, "evaluate", lambda *asked: evaluated.append(asked[1]) or evaluate(*asked)
    )
    job.run(three)
    assert evaluated == ["boolq"]
    assert job.tables() == expected


def test_a_job_without_scores_fails_with_a_reason(job):
    tasks = {"arc_easy": {**SETTINGS["arc_easy"], "lm_eval": "arc_esay"}}
    with pytest.raises(JobError, match=r"arc_easy: JobError: lm-eval has no task 'arc_esay'"):
        job.run(tasks)
    assert not job.scores.exists()
    assert not job.samples.exists()


def test_no_program_runs_without_a_sandbox(job, monkeypatch):
    def cannot(*_):
        raise starter.SandboxError("no namespaces here")

    monkeypatch.setattr(starter, "prove", cannot)
    suites.prove_sandbox.cache_clear()
    code = {**SETTINGS["boolq"], "runs_code": True}
    with pytest.raises(JobError, match=r"1 of 2 .*boolq: SandboxError: no namespaces here"):
        job.run({"boolq": code, "squad": SETTINGS["squad"]})


def test_a_killed_job_resumes_after_its_finished_tasks(job):
    """Only the task during which it was killed is repeated, and the result is the same."""
    job.run()
    whole = job.tables()
    for file in (job.scores, job.samples):
        file.unlink()
    folders = [str(ROOT / "tests"), str(Path(run_lm_eval.__file__).parent)]
    program = textwrap.dedent(
        f"""
        import os, signal, sys
        sys.path[:0] = {folders!r}
        from prunescope.evaluation import harness
        from prunescope.model.loading import VariantSource
        import run_lm_eval

        own = harness.evaluate
        def evaluate(lm, name, settings, rows_dir):
            if name == "squad":
                os.kill(os.getpid(), signal.SIGKILL)
            return own(lm, name, settings, rows_dir)

        harness.evaluate = evaluate
        run_lm_eval.run_lm_eval(**{job.arguments()!r})
        """
    )
    killed = subprocess.run([sys.executable, "-c", program], env=dict(os.environ), check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not job.scores.exists()

    computed = []
    own = suites.lazily_loaded

    def counting(*arguments):
        run = own(*arguments)

        def counted(name, settings, rows_dir):
            computed.append(name)
            return run(name, settings, rows_dir)

        return counted

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suites, "lazily_loaded", counting)
        job.run()
    assert computed == ["squad"]
    assert job.tables() == whole
    assert "finished" not in "".join(names_below(job.folder / "out"))


@pytest.mark.parametrize("change", ["code", "settings", "rows", "version"])
def test_finished_tasks_are_reused_only_if_decided_alike(job, change, monkeypatch):
    """Another code, setting, row or library: the killed job's finished task is computed again."""
    settings = SETTINGS["boolq"]
    arguments = job.arguments({"boolq": settings})
    rows = digests.checksums(arguments["rows_dirs"]["boolq"])
    decides = {"task": settings, "rows": rows, **arguments["decides"]}
    finished.keep(finished.file(job.scores, "boolq", decides), {"scores": [], "samples": []})
    decides = {"code": "2"} if change == "code" else {}
    if change == "settings":
        settings = {**settings, "limit": 3}
    if change == "rows":
        write_task(job.folder, "boolq", n_rows=4)
    if change == "version":
        upgraded = {**store.versions(), "torch": "99.0"}
        monkeypatch.setattr(store, "versions", lambda: upgraded)
    (row,) = job.run({"boolq": settings}, **decides)
    assert row["n_items"] == {"settings": 3, "rows": 4}.get(change, 9)


def test_truncated_contexts_are_counted(tmp_path):
    """None for a long window; all for a short one, which is refused; else the longer ones."""
    folder = make_tiny_model(tmp_path / "m", max_position_embeddings=48)
    model, tokenizer = (
        loading.load(folder, "float32", torch.device("cpu")),
        loading.load_tokenizer(folder),
    )
    rows = {task: write_task(tmp_path, task) for task in ("squad", "hellaswag")}
    settings = {**SETTINGS["squad"], "max_new_tokens": 4}

    def n_cut(positions, task="squad", asked=settings):
        lm._max_length = positions
        (row, *_) = harness.evaluate(lm, task, asked, rows[task]).scores
        return row["n_cut"]

    lm = VariantLM(model, tokenizer, 4)
    assert lm.max_length == 48
    assert n_cut(4096, "hellaswag", SETTINGS["hellaswag"]) == 0
    with pytest.raises(JobError, match="longer than the 48 positions"):
        n_cut(48)
    lengths = sorted(len(lm.tok_encode(context)) for context in lm.cut)
    assert n_cut(lengths[-1] + 4) == 0
    assert n_cut(lengths[0] + 4) == sum(length > lengths[0] for length in lengths) > 0


@pytest.mark.parametrize("label", [-1, 2, 7])
def test_a_hidden_label_is_refused_with_its_row(tmp_path, label):
    """lm-eval would count the item as wrong for any answer of the model."""
    folder = make_tiny_model(tmp_path / "m")
    lm = VariantLM(
        loading.load(folder, "float32", torch.device("cpu")), loading.load_tokenizer(folder), 4
    )
    rows_dir = write_task(tmp_path, "boolq")
    file = rows_dir / "validation.parquet"
    rows = pq.read_table(file).to_pylist()
    rows[3]["label"] = rows[5]["label"] = label
    store.write_parquet(file, pa.Table.from_pylist(rows))
    with pytest.raises(
        JobError, match=rf"2 of 9 items .* row 4: its label is {label}, but it has 2"
    ):
        harness.evaluate(lm, "boolq", SETTINGS["boolq"], rows_dir)


@pytest.fixture
def lm(tmp_path):
    folder = make_tiny_model(tmp_path / "m")
    return VariantLM(
        loading.load(folder, "float32", torch.device("cpu")), loading.load_tokenizer(folder), 4
    )


def changed_rows(rows_dir, split, change):
    """Rewrite the rows of a split; `change` gets and returns the list of them."""
    file = rows_dir / f"{split}.parquet"
    rows = change(pq.read_table(file).to_pylist())
    store.write_parquet(file, pa.Table.from_pylist(rows))
    return rows


@pytest.mark.parametrize(
    ("task", "split", "column"),
    [
        ("boolq", "validation", "question"),
        ("boolq", "validation", "passage"),
        ("arc_easy", "test", "question"),
        ("gsm8k", "test", "answer"),
        ("nq_open", "validation", "question"),
        ("squad", "validation", "question"),
        ("squad", "validation", "context"),
        ("wikitext", "test", "page"),
    ],
)
def test_a_null_that_a_prompt_is_made_of_is_refused_by_row(tmp_path, lm, task, split, column):
    """lm-eval would write the word None into the prompt, or stop with a message of its code."""
    rows_dir = write_task(tmp_path, task)
    changed_rows(rows_dir, split, lambda rows: [{**r, column: None} for r in rows[:1]] + rows[1:])
    message = rf"null in a column .* the first is `{column}` of row 1|cannot read its rows .* null"
    with pytest.raises(JobError, match=message) as failure:
        harness.evaluate(lm, task, SETTINGS[task], rows_dir)
    assert "\n" not in str(failure.value)


def test_a_null_in_a_column_that_no_prompt_reads_is_none_of_our_business(tmp_path, lm):
    rows_dir = write_task(tmp_path, "boolq")
    changed_rows(rows_dir, "validation", lambda rows: [{**row, "idx": None} for row in rows])
    assert harness.evaluate(lm, "boolq", SETTINGS["boolq"], rows_dir).scores


def test_a_task_that_cannot_read_its_rows_says_so(tmp_path, lm):
    """HellaSwag's own code takes the rows apart before any prompt is made."""
    rows_dir = write_task(tmp_path, "hellaswag")
    changed_rows(rows_dir, "validation", lambda rows: [{**row, "ctx_b": None} for row in rows])
    with pytest.raises(JobError, match="lm-eval's hellaswag cannot read its rows") as failure:
        harness.evaluate(lm, "hellaswag", SETTINGS["hellaswag"], rows_dir)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(("task", "column"), [("gsm8k", "answer"), ("arc_easy", "answerKey")])
@pytest.mark.parametrize("other", [False, True])
def test_items_among_their_own_examples_are_refused(tmp_path, lm, task, column, other):
    """Also where another column differs, which lm-eval takes for another item."""
    settings = {**SETTINGS[task], "n_shot": 5, "limit": "all"}
    rows_dir = write_task(tmp_path, task)
    rows = changed_rows(rows_dir, "test", list)
    changed_rows(
        rows_dir,
        "train",
        lambda _: [{**r, **({column: r[column][::-1]} if other else {})} for r in rows],
    )
    with pytest.raises(JobError, match=r"\d of 9 items have their own question among their 5"):
        harness.evaluate(lm, task, settings, rows_dir)
    assert harness.evaluate(lm, task, {**settings, "n_shot": 0}, rows_dir).scores


def test_looking_at_the_examples_changes_none_of_them(tmp_path, lm, monkeypatch):
    """And a single duplicate in a hundred items is told, but scored."""
    rows_dir = write_task(tmp_path, "gsm8k", n_rows=120)
    settings = {**SETTINGS["gsm8k"], "limit": 120}
    checked = harness.evaluate(lm, "gsm8k", settings, rows_dir)
    monkeypatch.setattr(harness, "check_examples", lambda *_: None)
    assert harness.evaluate(lm, "gsm8k", settings, rows_dir) == checked


def test_more_examples_than_rows_is_a_sentence(tmp_path, lm):
    rows_dir = write_task(tmp_path, "gsm8k")
    with pytest.raises(JobError, match="n_shot is 30, but the split of solved examples has fewer"):
        harness.evaluate(lm, "gsm8k", {**SETTINGS["gsm8k"], "n_shot": 30}, rows_dir)


@dataclass
class Shots:
    """A task of one's own with examples, as lm-eval shows it."""

    questions: list[str]
    examples: list[str]
    multiple_input: int = 0
    seeds: list[int] = field(default_factory=list)

    def __post_init__(self):
        self.config = SimpleNamespace(num_fewshot=1, test_split="test", task="own")
        self.fewshot_cfg = SimpleNamespace(split="train")
        self.eval_docs = [{"question": question} for question in self.questions]
        docs = [{"question": question} for question in self.examples]
        self.sampler = SimpleNamespace(sample=lambda n, eval_doc: docs[:n])

    def set_fewshot_seed(self, seed):
        self.seeds.append(seed)

    def doc_to_text(self, doc):
        return doc["question"]


def test_few_duplicates_are_told_and_many_are_refused(capsys):
    harness.check_examples(Shots([f"q{n}" for n in range(100)], ["q7"]))
    assert (
        "own: 1 of 100 items have their own question among their 1 solved"
        in capsys.readouterr().err
    )
    with pytest.raises(JobError, match=r"1 of 99 items .* the first in row 8"):
        harness.check_examples(Shots([f"q{n}" for n in range(99)], ["q7 "]))
    harness.check_examples(Shots(["q0"], ["q1"]))
    assert not capsys.readouterr().err


@dataclass
class Choices:
    """A multiple-choice task of one's own, as lm-eval shows it."""

    eval_docs: list[dict[str, Any]]
    OUTPUT_TYPE: str = "multiple_choice"
    multiple_input: int = 0

    def doc_to_choice(self, doc):
        return doc["options"]

    def doc_to_target(self, doc):
        return doc["label"]


def test_empty_options_are_refused_and_equal_ones_are_reported(caplog):
    """Equal options are reported only if the right one is among them."""
    fine = {"options": ["a", "b", "b"], "label": 0}
    harness.check_answers(Choices([fine]))
    assert not caplog.records
    harness.check_answers(Choices([fine, {"options": ["a", "b", "b"], "label": 2}]))
    assert "1 of 2 items" in caplog.text
    assert "rows 2" in caplog.text
    with pytest.raises(JobError, match=r"1 of 2 items .* row 2: one of its options is empty"):
        harness.check_answers(Choices([fine, {"options": ["a", " "], "label": 0}]))
