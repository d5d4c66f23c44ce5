"""Benchmark tasks through lm-eval: its prompts, filters and metrics on rows of our own store."""

import contextlib
import json
import logging
import re
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import lm_eval
import numpy as np
import pyarrow.compute as pc
from lm_eval import evaluator
from lm_eval.api.task import ConfigurableTask
from lm_eval.defaults import DEFAULT_OTHER_SEED
from lm_eval.tasks import TaskManager

from prunescope.evaluation import code_eval
from prunescope.evaluation.variant_lm import VariantLM, Written
from prunescope.measures import wording
from prunescope.progress import LOG, JobError
from prunescope.storage import store

OWN_TASKS = Path(__file__).parent / "lm_eval_tasks"
"""Task files that lm-eval does not have."""

_SPLITS = {"training_split": "train", "validation_split": "validation", "test_split": "test"}
_FEW_SHOT_SPLITS = ("train", "dev")

Settings = Mapping[str, Any]
"""One entry of config's `tasks`."""

Rows = list[dict[str, Any]]


class Evaluated(NamedTuple):
    """What one task gave: rows of tables `task_scores` (without seconds) and `task_samples`."""

    scores: Rows
    samples: Rows


def evaluate(lm: VariantLM, name: str, settings: Settings, rows_dir: str | Path) -> Evaluated:
    """Run one task on a model.

    Parameters
    ----------
    name : the task's name in config.
    rows_dir : folder of `<split>.parquet`, as fetch_task wrote it.

    Raises
    ------
    JobError
        if lm-eval has no such task, none of its metrics is the headline, no item fits the model's
        positions, or an item has no options or no right one.
    """
    datasets.disable_progress_bars()
    asked = settings.get("lm_eval", name)
    limit = None if settings["limit"] == "all" else settings["limit"]
    loaded = load(asked, settings, Path(rows_dir), limit)
    for task in loaded["tasks"].values():
        task.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)
        if "max_new_tokens" in settings:
            length = {"max_gen_toks": settings["max_new_tokens"]}
            task.set_config(key="generation_kwargs", value=length, update=True)
    for task in loaded["tasks"].values():
        check_answers(task)
    lm.written.clear()
    lm.cut.clear()
    with _quiet("lm_eval"):
        found = evaluator.evaluate(
            lm=lm,
            task_dict=loaded,
            limit=limit,
            confirm_run_unsafe_code=settings.get("runs_code", False),
        )
    tasks = loaded["tasks"]
    cut = n_cut(found, lm.cut)
    n_items = _n_items(found)
    if cut == n_items:
        raise JobError(
            f"the context of every one of the {n_items} items is longer than the "
            f"{lm.max_length} positions of the model, so that none would be asked as it is. Set "
            "fewer solved examples (n_shot) or a smaller max_new_tokens, or leave the task out."
        )
    return Evaluated(
        list(_scores(found, name, asked, settings, tasks, cut)),
        list(_samples(found, name, tasks, lm.written)),
    )


def load(
    asked: str, settings: Settings, rows_dir: Path, limit: int | None = None
) -> dict[str, Any]:
    """lm-eval's task or group of that name, reading what splits there are in `rows_dir`.

    A split that lm-eval wants and the store lacks is left out: scored is `test` where there is
    one, else `validation`. Rows beyond `limit` are not even prepared, unless lm-eval leaves some
    out before it counts.
    """
    there = {file.stem for file in rows_dir.glob("*.parquet")}
    overrides: dict[str, Any] = {"num_fewshot": settings["n_shot"]}
    overrides |= {key: None for key, split in _SPLITS.items() if split not in there}
    if not there.intersection(_FEW_SHOT_SPLITS):
        overrides["fewshot_split"] = None
    kind, folder = _definition(asked)
    metric = code_eval.in_place() if settings.get("runs_code") else contextlib.nullcontext()
    with (
        tempfile.TemporaryDirectory() as wrapper,
        _quiet("lm_eval"),
        metric,
        _rows_from(rows_dir, settings.get("subtasks"), limit),
    ):
        group = {"group": "prunescope", "task": [{kind: asked, **overrides}]}
        Path(wrapper, "prunescope.yaml").write_text(json.dumps(group), encoding="utf-8")
        manager = TaskManager(include_path=[str(folder), wrapper], include_defaults=False)
        every = manager.load("prunescope")
    if limit is not None and any(_leaves_rows_out(task) for task in every["tasks"].values()):
        return load(asked, settings, rows_dir)
    del every["groups"]["prunescope"], every["group_map"]["prunescope"]
    return dict(every)


def _leaves_rows_out(task: Any) -> bool:
    scored = task.config.test_split or task.config.validation_split
    return len(task.eval_docs) < len(task.dataset[scored])


def _definition(asked: str) -> tuple[str, Path]:
    """Whether lm-eval calls it a task or a group, and the folder of its definition.

    Read as text: parsing all of lm-eval's ten thousand definitions takes seconds.
    """
    defined = re.compile(rf"^[\"']?(task|group)[\"']?: *[\"']?{re.escape(asked)}[\"']? *$", re.M)
    for root in (OWN_TASKS, Path(lm_eval.__file__).parent / "tasks"):
        for file in _definitions(root, asked):
            if match := defined.search(file.read_text(encoding="utf-8")):
                return match[1], file.parent
    raise JobError(
        f"lm-eval has no task {asked!r}. `lm_eval ls tasks` lists them: correct the task's name or "
        "its `lm_eval` in config."
    )


def _definitions(root: Path, asked: str) -> Iterator[Path]:
    """All definitions, those first that stand in a folder called as the task's name begins."""
    words = asked.split("_")
    called = [root / "_".join(words[:n]) for n in range(len(words), 0, -1)]
    for folder in (*called, root):
        yield from sorted(folder.rglob("*.yaml"))


@contextlib.contextmanager
def _rows_from(rows_dir: Path, subtasks: str | None, limit: int | None) -> Iterator[None]:
    """Within the block, tasks that are built read their rows from the store, not from the hub.

    Of a group, each task reads the rows whose column `subtasks` is its configuration's name. Of
    the split that is scored, the first `limit`.
    """
    tables = {file.stem: store.read_parquet(file) for file in sorted(rows_dir.glob("*.parquet"))}

    def download(task: Any, *_: Any, **__: Any) -> None:
        chosen = tables
        if subtasks is not None:
            mine = pc.field(subtasks) == task.DATASET_NAME
            chosen = {split: table.filter(mine) for split, table in tables.items()}
        scored = task.config.test_split or task.config.validation_split
        chosen = {**chosen, scored: chosen[scored][:limit]}
        task.dataset = datasets.DatasetDict(
            {split: datasets.Dataset(table) for split, table in chosen.items()}
        )

    own = ConfigurableTask.download
    ConfigurableTask.download = download
    try:
        yield
    finally:
        ConfigurableTask.download = own


@contextlib.contextmanager
def _quiet(logger: str) -> Iterator[None]:
    """Within the block, the logger says only what went wrong."""
    found = logging.getLogger(logger)
    level = found.level
    found.setLevel(logging.ERROR)
    try:
        yield
    finally:
        found.setLevel(level)


def _scores(
    found: Mapping[str, Any],
    name: str,
    asked: str,
    settings: Settings,
    tasks: Mapping[str, Any],
    cut: int,
) -> Iterator[dict[str, Any]]:
    """Rows of table `task_scores`: every metric of the task, or of the group as a whole."""
    results = found["results"][asked]
    metrics = [key for key in results if "," in key and "_stderr," not in key]
    headline = settings["headline"]
    headline = headline if "," in headline else f"{headline},none"
    if headline not in metrics:
        raise JobError(
            f"tasks/{name}/headline is {settings['headline']!r}, but lm-eval gives "
            f"{', '.join(metrics)}. Choose one of these."
        )
    directions = next(iter(tasks.values())).higher_is_better()
    for key in metrics:
        metric, _, filtered = key.partition(",")
        error = results.get(f"{metric}_stderr,{filtered}")
        yield {
            "task": name,
            "metric": metric,
            "filter": filtered,
            "headline": key == headline,
            "family": settings["family"],
            "n_shot": settings["n_shot"],
            "n_items": _n_items(found),
            "n_cut": cut,
            "score": float(results[key]),
            "standard_error": float(error) if isinstance(error, float) else None,
            "higher_is_better": bool(directions[metric]),
        }


def check_answers(task: Any) -> None:
    """Raise JobError where an item of a multiple-choice task has no options, or no right one.

    lm-eval scores such an item as wrong whatever the model says: the labels of many test splits
    are hidden as -1. Where the right option reads like another, it goes by their order: a few items
    of well-known sets are so, and the log says which.
    """
    if task.OUTPUT_TYPE != "multiple_choice":
        return
    docs = list(task.eval_docs)
    amiss = [(place, said) for place, doc in enumerate(docs) if (said := _amiss(task, doc))]
    if amiss:
        place, said = amiss[0]
        raise JobError(
            f"{len(amiss)} of {len(docs)} items cannot be scored, the first in row {place + 1}: "
            f"{said}. Labels of test splits are often hidden: read a split that has them."
        )
    if twice := [place + 1 for place, doc in enumerate(docs) if _right_one_twice(task, doc)]:
        LOG.warning(
            "%d of %d items have a right option that reads like another of theirs, so that no "
            "answer tells: rows %s",
            len(twice),
            len(docs),
            ", ".join(map(str, twice[:10])) + (" ..." if len(twice) > 10 else ""),
        )


def _amiss(task: Any, doc: Mapping[str, Any]) -> str | None:
    """What keeps an item from being scored; None where nothing does."""
    options = task.doc_to_choice(doc)
    gold = task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)
    if not options:
        return "it has no options"
    if any(isinstance(option, str) and not option.strip() for option in options):
        return "one of its options is empty"
    for each in gold if isinstance(gold, list) else [gold]:
        known = 0 <= each < len(options) if isinstance(each, int) else each in options
        if not known:
            return f"its label is {each!r}, but it has {len(options)} options"
    return None


def _right_one_twice(task: Any, doc: Mapping[str, Any]) -> bool:
    """True where the text of the right option is that of another option, too."""
    if task.multiple_input:
        return False  # options are contexts, and differ where they stand
    options, gold = task.doc_to_choice(doc), task.doc_to_target(doc)
    return any(
        options.count(options[each] if isinstance(each, int) else each) > 1
        for each in (gold if isinstance(gold, list) else [gold])
    )


def _n_items(found: Mapping[str, Any]) -> int:
    """Items scored, of all subtasks; `found` is what lm-eval's evaluator returned."""
    return sum(count["effective"] for count in found["n-samples"].values())


def n_cut(found: Mapping[str, Any], cut: Collection[str]) -> int:
    """Items of which a context was cut to fit the model's positions.

    Parameters
    ----------
    found : what lm-eval's evaluator returned. cut : the contexts that did not fit.
    """
    return len(
        {
            (subtask, sample["doc_id"])
            for subtask, samples in found["samples"].items()
            for sample in samples
            if any(arguments[0] in cut for arguments in sample["arguments"])
        }
    )


def _samples(
    found: Mapping[str, Any],
    name: str,
    tasks: Mapping[str, Any],
    written: Mapping[str, Written],
) -> Iterator[dict[str, Any]]:
    """Rows of table `task_samples`."""
    for subtask, samples in found["samples"].items():
        for sample in samples:
            wording = _wording(written.get(sample["arguments"][0][0]))
            for metric in sample["metrics"]:
                yield {
                    "task": name,
                    "subtask": subtask,
                    "item": int(sample["doc_id"]),
                    "metric": metric,
                    "filter": sample["filter"],
                    "outcome": _outcome(sample[metric]),
                    "chance": _chance(sample, metric, tasks[subtask]),
                    "response": _response(sample, metric, tasks[subtask]),
                    "target": _target(sample, tasks[subtask]),
                    "doc_hash": sample["doc_hash"],
                    **wording,
                }


def _wording(said: Written | None) -> dict[str, Any]:
    """Tokens of what was written and how they repeat themselves, in columns of `task_samples`."""
    if said is None:
        return dict.fromkeys((*Written._fields, *wording.Wording._fields))
    return {**said._asdict(), **wording.wording(said.token_ids)._asdict()}


def _outcome(value: Any) -> float:
    """The item's part of the score; of a (log-likelihood, weight) pair their ratio."""
    if isinstance(value, tuple):
        return float(value[0] / value[1])
    return float(value)


def _chance(sample: Mapping[str, Any], metric: str, task: Any) -> float | None:
    """Expected outcome of a guess: one in so many options, 0 for a text that is written.

    None for a metric that is no share of right answers.
    """
    if task.OUTPUT_TYPE == "generate_until":
        return 0.0
    if task.OUTPUT_TYPE != "multiple_choice" or metric not in ("acc", "acc_norm"):
        return None
    target = sample["target"]
    n_right = len(target) if isinstance(target, list) else 1
    return n_right / len(task.doc_to_choice(sample["doc"]))


def _response(sample: Mapping[str, Any], metric: str, task: Any) -> str:
    """What the model wrote, or the option it chose by this metric's rule."""
    if task.OUTPUT_TYPE != "multiple_choice":
        said = sample["filtered_resps"][0]
        return str(said[0] if isinstance(said, Sequence) and not isinstance(said, str) else said)
    options = task.doc_to_choice(sample["doc"])
    scores = np.array([score for score, _ in sample["filtered_resps"][: len(options)]])
    if metric == "acc_norm":
        scores = scores / np.array([len(option) for option in options])
    return str(options[int(scores.argmax())])


def _target(sample: Mapping[str, Any], task: Any) -> str:
    """The right answer as text; of options, the option."""
    target = sample["target"]
    if task.OUTPUT_TYPE == "multiple_choice" and isinstance(target, int):
        return str(task.doc_to_choice(sample["doc"])[target])
    return str(target)
