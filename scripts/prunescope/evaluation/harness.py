"""Run benchmark tasks with lm-eval: its prompts, filters and metrics, on rows of our own store."""

import contextlib
import json
import logging
import re
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import jinja2
import jinja2.meta
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
from prunescope.progress import LOG, JobError, warn
from prunescope.storage import store

OWN_TASKS = Path(__file__).parent / "lm_eval_tasks"
"""Folder of task files that lm-eval does not have."""

_SPLITS = {"training_split": "train", "validation_split": "validation", "test_split": "test"}
_FEW_SHOT_SPLITS = ("train", "dev")

TaskSettings = Mapping[str, Any]
"""One entry of config's `tasks`."""

Rows = list[dict[str, Any]]


class Evaluated(NamedTuple):
    """Results of a task: rows of the tables `task_scores` (without seconds) and `task_samples`."""

    scores: Rows
    samples: Rows


def evaluate(lm: VariantLM, name: str, settings: TaskSettings, rows_dir: str | Path) -> Evaluated:
    """Run one task on a model.

    Parameters
    ----------
    lm : the model.
    name : the name of the task in the config.
    settings : its entry in the config.
    rows_dir : folder of `<split>.parquet`, written by fetch_task.

    Raises
    ------
    JobError
        if lm-eval has no such task or cannot read its rows, the headline is none of its metrics, no
        item fits into the model's positions, an item has no options or no correct option, prompts
        read columns that are null, or items are among their own solved examples.
    """
    datasets.disable_progress_bars()
    lm_eval_name = settings.get("lm_eval", name)
    limit = None if settings["limit"] == "all" else settings["limit"]
    loaded = load(lm_eval_name, settings, Path(rows_dir), limit)
    for task in loaded["tasks"].values():
        task.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)
        if "max_new_tokens" in settings:
            length = {"max_gen_toks": settings["max_new_tokens"]}
            task.set_config(key="generation_kwargs", value=length, update=True)
    for task in loaded["tasks"].values():
        check_nulls(task, limit)
        check_answers(task)
        check_examples(task, limit)
    lm.written.clear()
    lm.cut.clear()
    with _quiet("lm_eval"):
        results = evaluator.evaluate(
            lm=lm,
            task_dict=loaded,
            limit=limit,
            confirm_run_unsafe_code=settings.get("runs_code", False),
        )
    tasks = loaded["tasks"]
    n_cut_items = n_cut(results, lm.cut)
    n_items = _n_items(results)
    if n_cut_items == n_items:
        raise JobError(
            f"the context of every one of the {n_items} items is longer than the "
            f"{lm.max_length} positions of the model, so that all would be truncated. Set "
            "fewer solved examples (n_shot) or a smaller max_new_tokens, or leave the task out."
        )
    return Evaluated(
        list(_scores(results, name, lm_eval_name, settings, tasks, n_cut_items)),
        list(_samples(results, name, tasks, lm.written)),
    )


def load(
    lm_eval_name: str, settings: TaskSettings, rows_dir: Path, limit: int | None = None
) -> dict[str, Any]:
    """Load a task or group of lm-eval, which reads the splits in `rows_dir`.

    Splits that are missing in `rows_dir` are removed from the task; it is scored on `test` if there
    is one, else on `validation`. Rows beyond `limit` are not even prepared, unless lm-eval filters
    rows before it applies the limit.

    Parameters
    ----------
    lm_eval_name : name of the task or group in lm-eval.
    settings : entry of the task in the config.
    rows_dir : folder with a Parquet file per split.
    limit : number of rows of the scored split; None for all.
    """
    splits = {file.stem for file in rows_dir.glob("*.parquet")}
    overrides: dict[str, Any] = {"num_fewshot": settings["n_shot"]}
    overrides |= {key: None for key, split in _SPLITS.items() if split not in splits}
    if not splits.intersection(_FEW_SHOT_SPLITS):
        overrides["fewshot_split"] = None
    kind, folder = _definition(lm_eval_name, settings.get("definition"))
    metric = code_eval.in_place() if settings.get("runs_code") else contextlib.nullcontext()
    with (
        tempfile.TemporaryDirectory() as wrapper,
        _quiet("lm_eval"),
        metric,
        _rows_from(rows_dir, settings.get("subtasks"), limit),
    ):
        group = {"group": "prunescope", "task": [{kind: lm_eval_name, **overrides}]}
        Path(wrapper, "prunescope.yaml").write_text(json.dumps(group), encoding="utf-8")
        if folder is None:
            Path(wrapper, "definition.yaml").write_text(settings["definition"], encoding="utf-8")
        paths = [wrapper] if folder is None else [str(folder), wrapper]
        manager = TaskManager(include_path=paths, include_defaults=False)
        try:
            loaded = manager.load("prunescope")
        except Exception as error:  # the code of a task may raise any exception
            raise JobError(
                f"lm-eval's {lm_eval_name} cannot read its rows ({type(error).__name__}: "
                f"{' '.join(str(error).split())[:200]}). A column may be missing, null or of "
                "another kind than on the hub: correct `rows` of the task in config."
            ) from error
    if limit is not None and any(_filters_rows(task) for task in loaded["tasks"].values()):
        return load(lm_eval_name, settings, rows_dir)
    del loaded["groups"]["prunescope"], loaded["group_map"]["prunescope"]
    return dict(loaded)


def _filters_rows(task: Any) -> bool:
    scored = task.config.test_split or task.config.validation_split
    return len(task.eval_docs) < len(task.dataset[scored])


def _definition(lm_eval_name: str, own: str | None = None) -> tuple[str, Path | None]:
    """Whether the name is that of a task or a group in lm-eval, and the folder of its definition.

    There is no folder if config holds the definition itself (`own`).

    Files are searched as text, because parsing the ten thousand definitions of lm-eval takes
    seconds.
    """
    if own is not None:
        return "task", None
    pattern = re.compile(
        rf"^[\"']?(task|group)[\"']?: *[\"']?{re.escape(lm_eval_name)}[\"']? *$", re.M
    )
    for root in (OWN_TASKS, Path(lm_eval.__file__).parent / "tasks"):
        for file in _definitions(root, lm_eval_name):
            if match := pattern.search(file.read_text(encoding="utf-8")):
                return match[1], file.parent
    raise JobError(
        f"lm-eval has no task {lm_eval_name!r}. `lm_eval ls tasks` lists them: correct the task's "
        "name or its `lm_eval` in config."
    )


def _definitions(root: Path, lm_eval_name: str) -> Iterator[Path]:
    """Yield all definitions, first those in folders whose name begins the name of the task."""
    words = lm_eval_name.split("_")
    likely_folders = [root / "_".join(words[:n]) for n in range(len(words), 0, -1)]
    for folder in (*likely_folders, root):
        yield from sorted(folder.rglob("*.yaml"))


@contextlib.contextmanager
def _rows_from(rows_dir: Path, subtasks: str | None, limit: int | None) -> Iterator[None]:
    """Within the context, new tasks read their rows from the store, not from the hub.

    In a group, each task reads the rows with its configuration's name in the column `subtasks`.
    Only the first `limit` rows of the scored split are read.
    """
    tables = {file.stem: store.read_parquet(file) for file in sorted(rows_dir.glob("*.parquet"))}

    def download(task: Any, *_: Any, **__: Any) -> None:
        chosen = tables
        if subtasks is not None:
            of_subtask = pc.field(subtasks) == task.DATASET_NAME
            chosen = {split: table.filter(of_subtask) for split, table in tables.items()}
        scored = task.config.test_split or task.config.validation_split
        chosen = {**chosen, scored: chosen[scored][:limit]}
        task.dataset = datasets.DatasetDict(
            {split: datasets.Dataset(table) for split, table in chosen.items()}
        )

    original = ConfigurableTask.download
    ConfigurableTask.download = download
    try:
        yield
    finally:
        ConfigurableTask.download = original


@contextlib.contextmanager
def _quiet(logger: str) -> Iterator[None]:
    """Within the context, the logger reports only errors."""
    found_logger = logging.getLogger(logger)
    level = found_logger.level
    found_logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        found_logger.setLevel(level)


def _scores(
    evaluated: Mapping[str, Any],
    name: str,
    lm_eval_name: str,
    settings: TaskSettings,
    tasks: Mapping[str, Any],
    n_cut_items: int,
) -> Iterator[dict[str, Any]]:
    """Rows of table `task_scores`: every metric of the task, or of the group as a whole."""
    results = evaluated["results"][lm_eval_name]
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
        metric, _, filter_name = key.partition(",")
        standard_error = results.get(f"{metric}_stderr,{filter_name}")
        yield {
            "task": name,
            "metric": metric,
            "filter": filter_name,
            "headline": key == headline,
            "family": settings["family"],
            "n_shot": settings["n_shot"],
            "n_items": _n_items(evaluated),
            "n_cut": n_cut_items,
            "score": float(results[key]),
            "standard_error": float(standard_error) if isinstance(standard_error, float) else None,
            "higher_is_better": bool(directions[metric]),
        }


def check_nulls(task: Any, limit: int | None = None) -> None:
    """Raise JobError if the prompts of a task read columns that are null in some of its rows.

    lm-eval would write `None` into such a prompt.
    """
    docs = list(task.eval_docs)[:limit]
    fields = (task.config.doc_to_text, task.config.doc_to_target, task.config.doc_to_choice)
    readers = [_columns_read_by(field) for field in fields]
    null_columns = [
        (row, column)
        for row, doc in enumerate(docs, start=1)
        for column in sorted({name for read in readers for name in read(doc)})
        if doc.get(column, "") is None
    ]
    if null_columns:
        row, column = null_columns[0]
        raise JobError(
            f"{len({row for row, _ in null_columns})} of {len(docs)} items have null in a column "
            f"that their prompt or answer is made of, the first is `{column}` of row {row}. "
            "Correct the rows, or leave these out."
        )


def _columns_read_by(field: Any) -> Callable[[Mapping[str, Any]], Collection[str]]:
    """A function that says which columns of an item a field of a task's definition reads.

    Parameters
    ----------
    field : the name of a column, a template, a function of the item, or a constant.
    """
    if isinstance(field, str):
        named = jinja2.meta.find_undeclared_variables(
            jinja2.Environment(autoescape=True).parse(field)
        )
        return lambda doc: {field} if field in doc else named
    if not callable(field):
        return lambda _: ()

    def read_by_function(doc: Mapping[str, Any]) -> set[str]:
        watched = _Watched(doc)
        with contextlib.suppress(Exception):  # the code of a task may raise any at a null
            field(watched)
        return watched.read

    return read_by_function


class _Watched(dict[str, Any]):
    """An item that remembers which of its columns have been read."""

    def __init__(self, doc: Mapping[str, Any]) -> None:
        super().__init__(doc)
        self.read: set[str] = set()

    def __getitem__(self, column: str) -> Any:
        self.read.add(column)
        return super().__getitem__(column)


MOST_LEAKED = 0.01
"""Share of items up to which duplicates among the solved examples are only told."""


def check_examples(task: Any, limit: int | None = None) -> None:
    """Raise JobError if items are asked with their own question among the solved examples.

    lm-eval leaves an item out of its examples only if both come from the test split, and only if
    the two rows are equal in every column. Well-known sets hold a few questions twice, which is
    told.
    """
    n_shot = task.config.num_fewshot
    if not n_shot:
        return
    docs = list(task.eval_docs)[:limit]
    excludes = task.fewshot_cfg.split == task.config.test_split
    leaked = []
    task.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)
    for row, doc in enumerate(docs, start=1):
        try:
            examples = task.sampler.sample(n=n_shot, eval_doc=doc if excludes else None)
        except (ValueError, AssertionError) as error:
            raise JobError(
                f"n_shot is {n_shot}, but the split of solved examples has fewer rows besides the "
                "item itself. Set a smaller n_shot, or give the task more rows of split train or "
                "dev."
            ) from error
        if _question(task, doc) in [_question(task, example) for example in examples]:
            leaked.append(row)
    task.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)  # the same examples are drawn again
    if not leaked:
        return
    found = (
        f"{len(leaked)} of {len(docs)} items have their own question among their {n_shot} solved "
        f"examples, the first in row {leaked[0]}, so that the answer need only be copied"
    )
    if len(leaked) > MOST_LEAKED * len(docs):
        raise JobError(
            f"{found}. Give the task a split of solved examples (train or dev) that holds none of "
            "the scored items, or set n_shot: 0."
        )
    warn(f"{task.config.task}: {found}.")


def _question(task: Any, doc: Mapping[str, Any]) -> str:
    """What an item asks, as text; of an item with several contexts, all of them."""
    text = task.doc_to_choice(doc) if task.multiple_input else task.doc_to_text(doc)
    return str(text).strip()


def check_answers(task: Any) -> None:
    """Raise JobError if a multiple-choice item has no options or no correct option.

    lm-eval would score such an item as wrong for every model; in many test splits, the labels are
    hidden as -1. If the correct option has the same text as another, the score depends on their
    order. This is true of a few items of well-known sets, which are only logged.
    """
    if task.OUTPUT_TYPE != "multiple_choice":
        return
    docs = list(task.eval_docs)
    faults = [(index, fault) for index, doc in enumerate(docs) if (fault := _fault_of(task, doc))]
    if faults:
        index, fault = faults[0]
        raise JobError(
            f"{len(faults)} of {len(docs)} items cannot be scored, the first in row {index + 1}: "
            f"{fault}. Labels of test splits are often hidden: read a split that has them."
        )
    if ambiguous := [index + 1 for index, doc in enumerate(docs) if _is_ambiguous(task, doc)]:
        LOG.warning(
            "in %d of %d items, the correct option has the same text as another, so that their "
            "score depends on the order of options: rows %s",
            len(ambiguous),
            len(docs),
            ", ".join(map(str, ambiguous[:10])) + (" ..." if len(ambiguous) > 10 else ""),
        )


def _fault_of(task: Any, doc: Mapping[str, Any]) -> str | None:
    """The reason why an item cannot be scored; None if it can."""
    options = task.doc_to_choice(doc)
    gold = task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)
    if not options:
        return "it has no options"
    if any(option is None or not str(option).strip() for option in options):
        return "one of its options is empty"
    for label in gold if isinstance(gold, list) else [gold]:
        known = 0 <= label < len(options) if isinstance(label, int) else label in options
        if not known:
            return f"its label is {label!r}, but it has {len(options)} options"
    return None


def _is_ambiguous(task: Any, doc: Mapping[str, Any]) -> bool:
    """Whether the correct option has the same text as another option."""
    if task.multiple_input:
        return False  # the options are contexts of one continuation
    options, gold = task.doc_to_choice(doc), task.doc_to_target(doc)
    return any(
        options.count(options[label] if isinstance(label, int) else label) > 1
        for label in (gold if isinstance(gold, list) else [gold])
    )


def _n_items(results: Mapping[str, Any]) -> int:
    """Number of scored items over all subtasks, in the results of lm-eval's evaluator."""
    return sum(count["effective"] for count in results["n-samples"].values())


def n_cut(results: Mapping[str, Any], cut_contexts: Collection[str]) -> int:
    """Number of items with a context that was truncated to fit the model's positions.

    Parameters
    ----------
    results : the results of lm-eval's evaluator.
    cut_contexts : the contexts that did not fit.
    """
    return len(
        {
            (subtask, sample["doc_id"])
            for subtask, samples in results["samples"].items()
            for sample in samples
            if any(arguments[0] in cut_contexts for arguments in sample["arguments"])
        }
    )


def _samples(
    results: Mapping[str, Any],
    name: str,
    tasks: Mapping[str, Any],
    written: Mapping[str, Written],
) -> Iterator[dict[str, Any]]:
    """Rows of table `task_samples`."""
    for subtask, samples in results["samples"].items():
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
                    "context": str(sample["arguments"][0][0]),
                    "options": _options(sample, tasks[subtask]),
                    "response": _response(sample, metric, tasks[subtask]),
                    "target": _target(sample, tasks[subtask]),
                    "doc_hash": sample["doc_hash"],
                    **wording,
                }


def _wording(text: Written | None) -> dict[str, Any]:
    """Columns of `task_samples` about a generated text: its tokens and their repetition."""
    if text is None:
        return dict.fromkeys((*Written._fields, *wording.Wording._fields))
    return {**text._asdict(), **wording.wording(text.token_ids)._asdict()}


def _outcome(value: Any) -> float:
    """The score of an item; for a pair (log-likelihood, weight), their ratio."""
    if isinstance(value, tuple):
        return float(value[0] / value[1])
    return float(value)


def _chance(sample: Mapping[str, Any], metric: str, task: Any) -> float | None:
    """Expected outcome of a guess: 1 / number of options, or 0 for a generated text.

    None for a metric that is no share of right answers.
    """
    if task.OUTPUT_TYPE == "generate_until":
        return 0.0
    if task.OUTPUT_TYPE != "multiple_choice" or metric not in ("acc", "acc_norm"):
        return None
    target = sample["target"]
    n_right = len(target) if isinstance(target, list) else 1
    return n_right / len(task.doc_to_choice(sample["doc"]))


def _options(sample: Mapping[str, Any], task: Any) -> list[str] | None:
    """The options of a multiple-choice item."""
    if task.OUTPUT_TYPE != "multiple_choice":
        return None
    return [str(option) for option in task.doc_to_choice(sample["doc"])]


def _response(sample: Mapping[str, Any], metric: str, task: Any) -> str:
    """The text that the model generated, or the option that it chose by the rule of the metric."""
    if task.OUTPUT_TYPE != "multiple_choice":
        response = sample["filtered_resps"][0]
        return str(
            response[0]
            if isinstance(response, Sequence) and not isinstance(response, str)
            else response
        )
    options = task.doc_to_choice(sample["doc"])
    scores = np.array([score for score, _ in sample["filtered_resps"][: len(options)]])
    if metric == "acc_norm":
        scores = scores / np.array([len(option) for option in options])
    return str(options[int(scores.argmax())])


def _target(sample: Mapping[str, Any], task: Any) -> str:
    """The correct answer as text; for multiple choice, the correct option."""
    target = sample["target"]
    if task.OUTPUT_TYPE == "multiple_choice" and isinstance(target, int):
        return str(task.doc_to_choice(sample["doc"])[target])
    return str(target)
