"""If a task fails, the results of the others are kept, and a killed job resumes."""

import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
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


@pytest.mark.parametrize("change", ["code", "settings", "rows"])
def test_finished_tasks_are_reused_only_with_equal_code_settings_and_rows(job, change):
    """Otherwise the finished task of a killed job is computed again."""
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
    (row,) = job.run({"boolq": settings}, **decides)
    assert row["n_items"] == {"code": 9, "settings": 3, "rows": 4}[change]


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
