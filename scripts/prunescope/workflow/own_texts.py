"""Prompts, questions and task definitions in files of the user's own, read when config is read.

- `prompts: {from: my.jsonl}` asks the prompts of a file of JSON lines in place of those of config.
- `tasks: {quiz: {questions: quiz.jsonl}}` is a multiple-choice task of one's own.
- `tasks: {quiz: {definition: quiz.yaml, ...}}` is a task of one's own as lm-eval describes tasks.

Their content becomes part of config, so that what depends on it runs again if it changes.
"""

import json
import random
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prunescope.workflow import source_requests
from prunescope.workflow.messages import ConfigError

Config = Mapping[str, Any]

MOST_PROMPTS = 64
"""Prompts of a file that are asked unless `most` says otherwise: a trace holds rows for each."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_TASK = re.compile(r"^task:[ \t]*[\"']?([\w.-]+)", re.MULTILINE)


def written_out(config: Config, basedir: Path) -> tuple[dict[str, Any], list[str], list[str]]:
    """Config with the content of these files.

    Parameters
    ----------
    config : config as it was merged, before it is checked.
    basedir : folder of the Snakefile, to which paths are relative.

    Returns
    -------
    The config, names of the prompts that a file has replaced, and sentences about what was sampled.

    Raises
    ------
    ConfigError
        if a file cannot be read, with its first line that is wrong.
    """
    changed, replaced, notes = dict(config), list[str](), list[str]()
    prompts = config.get("prompts")
    if isinstance(prompts, Mapping) and isinstance(prompts.get("from"), str):
        changed["prompts"], sentence = _prompts(prompts, config.get("seed"), basedir)
        replaced = [name for name in prompts if name not in changed["prompts"]]
        notes.append(sentence)
    tasks = config.get("tasks")
    if isinstance(tasks, Mapping):
        own = [name for name, entry in tasks.items() if _is_own(entry)]
        if own:
            read = {name: _task(name, tasks[name], basedir) for name in own}
            changed["tasks"] = {**tasks, **read}
            changed["suites"] = _with_tasks(config.get("suites"), own)
    return changed, replaced, notes


def _lines(key: str, path: str, basedir: Path) -> Iterator[tuple[str, Any]]:
    """Place and content of each line of a file of JSON lines that is not blank."""
    file = _located(key, path, basedir)
    with file.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            place = f"config: {key}: {path}, line {number}"
            if not line.strip():
                continue
            try:
                yield place, json.loads(line)
            except ValueError as error:
                raise ConfigError(f"{place} is not JSON ({error}). Correct the line.") from None


def _located(key: str, path: str, basedir: Path) -> Path:
    file = Path(source_requests.located({"from": "path", "path": path}, basedir)["path"])
    if not file.is_file():
        raise ConfigError(
            f"config: {key}: there is no file {file.resolve()}. Relative paths start at the "
            "Snakefile's folder."
        )
    return file


# ---- prompts -------------------------------------------------------------------------------------


def _prompts(section: Config, seed: object, basedir: Path) -> tuple[dict[str, Any], str]:
    """The prompts of a file, or a sample of them, by name, and a sentence about both.

    The file is read line by line, and no more prompts than are asked are kept at any time
    (reservoir sampling, Algorithm R of Vitter 1985); they stay in the order of the file.
    """
    path, most = section["from"], section.get("most", MOST_PROMPTS)
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise ConfigError(f"config: prompts/most is {most!r}; it must be a whole number above 0.")
    draw = random.Random(seed if isinstance(seed, int) else 0)  # noqa: S311 no secret
    kept: list[tuple[int, str, dict[str, str]]] = []
    names: set[str] = set()
    n_lines = 0
    for place, row in _lines("prompts/from", path, basedir):
        name, prompt = _prompt(place, row, n_lines + 1)
        if name in names:
            raise ConfigError(f"{place}: the id {name!r} is given twice. Rename one.")
        names.add(name)
        slot = n_lines if n_lines < most else draw.randrange(n_lines + 1)
        n_lines += 1
        if slot < most:
            kept[slot : slot + 1] = [(n_lines, name, prompt)]
    if not kept:
        raise ConfigError(f"config: prompts/from: {path} holds no prompts. Name another file.")
    if n_lines <= most:
        sentence = f"The {n_lines} prompts of {path} are asked."
    else:
        sentence = (
            f"{most} of the {n_lines} prompts of {path} are asked, drawn at random by the seed. "
            "`most` beside `from` says how many: a trace holds rows for each."
        )
    return {name: prompt for _, name, prompt in sorted(kept, key=lambda each: each[0])}, sentence


def _prompt(place: str, row: Any, number: int) -> tuple[str, dict[str, str]]:
    """Name and entry of the prompt in one line: a text, or an object with `text`."""
    if isinstance(row, str):
        row = {"text": row}
    if not isinstance(row, Mapping) or not isinstance(row.get("text"), str):
        raise ConfigError(
            f'{place} has no prompt. Write {{"text": "..."}}, with `kind` and `id` if you like.'
        )
    unknown = sorted(set(row) - {"text", "kind", "id"})
    if unknown:
        raise ConfigError(f"{place}: there is no key {unknown[0]!r}. There are: text, kind, id.")
    name = row.get("id", f"prompt-{number:04d}")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(
            f"{place}: the id {name!r} will not do. It has small letters, digits, dots, dashes and "
            "underscores."
        )
    return name, {"kind": row.get("kind", "open_ended"), "text": row["text"]}


# ---- tasks ---------------------------------------------------------------------------------------


def _is_own(entry: object) -> bool:
    return isinstance(entry, Mapping) and bool({"questions", "definition"} & entry.keys())


def _task(name: str, entry: Config, basedir: Path) -> dict[str, Any]:
    """The entry of a task with the content of its file."""
    if "questions" in entry:
        path = entry["questions"]
        if not isinstance(path, str):
            raise ConfigError(f"config: tasks/{name}/questions must be the path of a file.")
        _located(f"tasks/{name}/questions", path, basedir)
        source = {"from": "path", "path": path}
        usual = {
            "lm_eval": "questions",
            "family": "non_generative",
            "headline": "acc_norm",
            "n_shot": 0,
            "limit": "all",
            "rows": [{"split": "validation", "format": "questions", "source": source}],
        }
        return {**usual, **{key: value for key, value in entry.items() if key != "questions"}}
    text = entry["definition"]
    if isinstance(text, str) and "\n" not in text:
        text = _located(f"tasks/{name}/definition", text, basedir).read_text(encoding="utf-8")
    where = f"config: tasks/{name}/definition"
    found = _TASK.search(text) if isinstance(text, str) else None
    if found is None:
        raise ConfigError(f"{where} has no line `task: name`. Name a task file of lm-eval.")
    if "!function" in text or re.search(r"^include:", text, re.MULTILINE):
        raise ConfigError(
            f"{where} refers to another file (!function or include). Put both files into "
            "scripts/prunescope/evaluation/lm_eval_tasks and give the task's name as `lm_eval`."
        )
    return {**entry, "definition": text, "lm_eval": found[1]}


def _with_tasks(suites: Any, tasks: list[str]) -> Any:
    """Suites in which every task of one's own is evaluated: in `core` unless another names it."""
    if not isinstance(suites, Mapping) or not all(isinstance(s, list) for s in suites.values()):
        return suites
    named = {task for suite in suites.values() for task in suite}
    own = [task for task in tasks if task not in named]
    return {**suites, "core": [*suites.get("core", []), *own]}
