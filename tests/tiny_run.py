"""A copy of the repository to run and to edit, and the inputs of tests/config.tiny.yaml."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from task_inputs import write_task
from tiny import TEXTS, make_tiny_model

ROOT = Path(__file__).parents[1]
TINY = ("--configfile", "tests/config.tiny.yaml")
NOT_SOURCE = ("store", "results", "logs", ".git", ".venv", ".snakemake", ".*_cache", "__pycache__")
TASKS = ("hellaswag", "squad", "boolq", "gsm8k", "humaneval")
OFFLINE = {
    **dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9"),
    "HF_HUB_OFFLINE": "1",
    "PIP_NO_INDEX": "1",
}


def make_inputs(folder):
    """A model, a corpus and tasks in the hub's layout, as tests/config.tiny.yaml names them."""
    folder = Path(folder)
    make_tiny_model(folder / "model")
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps({"text": f"{text}, number {number}"}) for number in range(8) for text in TEXTS
    ]
    (folder / "corpus/train.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for task in TASKS:
        write_task(folder, task)
    asked = [
        {"id": f"q{number}", "title": "a", "context": text, "question": f"{text[:20]}?"}
        | {"answers": {"text": [text.split()[0]], "answer_start": [0]}}
        for number, text in enumerate(TEXTS)
    ]
    questions = "".join(json.dumps(question) + "\n" for question in asked)
    (folder / "questions.jsonl").write_text(questions, encoding="utf-8")


class Checkout:
    """The source tree in another folder, with its own store, and the network out of reach."""

    def __init__(self, folder):
        self.folder = Path(folder)
        shutil.copytree(ROOT, self.folder, ignore=shutil.ignore_patterns(*NOT_SOURCE))

    def snakemake(self, *arguments):
        """Run Snakemake here; return the finished process, its output as text."""
        return subprocess.run(
            [sys.executable, "-m", "snakemake", "--nocolor", *arguments],
            cwd=self.folder,
            env={**os.environ, **OFFLINE},
            capture_output=True,
            text=True,
            check=False,
        )

    def plan(self, *arguments):
        """Number of jobs by rule that a run would take, the target rule left out."""
        run = self.snakemake("--dry-run", *arguments)
        assert run.returncode == 0, run.stdout + run.stderr
        return job_counts(run.stdout + run.stderr)

    @contextlib.contextmanager
    def edited(self, name, old, new):
        """Within the block, the file holds `new` where it held `old`."""
        file = self.folder / name
        text = file.read_text(encoding="utf-8")
        assert old in text, f"{name} holds no {old!r}"
        file.write_text(text.replace(old, new, 1), encoding="utf-8")
        try:
            yield
        finally:
            file.write_text(text, encoding="utf-8")


def job_counts(output):
    """Rule -> number of jobs in a dry run's table."""
    table = re.search(r"^Job stats:\njob +count\n-.*\n((?:\w+ +\d+\n)+)", output, re.MULTILINE)
    if table is None:
        assert "Nothing to be done" in output, output
        return {}
    counts = dict(line.split() for line in table[1].splitlines())
    return {rule: int(n) for rule, n in counts.items() if rule not in ("all", "total")}
