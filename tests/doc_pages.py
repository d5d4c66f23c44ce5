"""Pages of docs/extend/ as a reader follows them: files to write, edits to make, commands to run.

A fenced block is one step. The line before it says where it goes, in backticks with a colon at the
end, as in "Write `scripts/prunescope/compression/methods/ria.py`:". The word after the fence says
what kind of step it is:

- `diff`: an edit of that file. Lines that begin with `+` are added, lines with `-` are removed, the
  others show where. A line `@@` begins another edit of the same file.
- `sh`: one command, of `python`, `pytest` or `snakemake`, run from the root of the repository.
- `text`: lines that the command before must have printed, among others, in this order.
- anything else: the whole content of a new file.
"""

import itertools
import math
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from warm_python import WarmPython

_FENCE = re.compile(r"^```(?P<kind>\w+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_PATH = re.compile(r"`([^`\s]+)`:\s*\Z")


@dataclass(frozen=True)
class Step:
    """One fenced block of a page: its kind, the file that it names, and what it holds."""

    kind: str
    path: str | None
    body: str


def steps(page: str) -> list[Step]:
    """Every fenced block of a page, in order."""
    found = []
    for fence in _FENCE.finditer(page):
        before = page[: fence.start()]
        named = _PATH.search(before)
        found.append(Step(fence["kind"], named[1] if named else None, fence["body"]))
    return found


def follow(page: str, folder: Path, environment: Mapping[str, str], python: WarmPython) -> None:
    """Do what a page says in a copy of the repository. Raises AssertionError where it fails."""
    printed = ""
    for step in steps(page):
        if step.kind == "sh":
            assert step.path is None, f"a command under the name of a file, {step.path}"
            printed = _run(step.body, folder, environment, python)
        elif step.kind == "text":
            check_output(step.body, printed)
        else:
            assert step.path, f"no line names the file of this block:\n{step.body}"
            file = folder / step.path
            if step.kind == "diff":
                file.write_text(edited(file.read_text("utf-8"), step.body), encoding="utf-8")
            else:
                assert not file.exists(), f"{step.path} exists already"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(step.body, encoding="utf-8")


def edited(text: str, diff: str) -> str:
    """The text with the edits made. Raises AssertionError unless each fits exactly one place."""
    for hunk in _hunks(diff.splitlines()):
        old = "".join(f"{line[1:]}\n" for line in hunk if line[:1] != "+")
        new = "".join(f"{line[1:]}\n" for line in hunk if line[:1] != "-")
        places = f"\n{text}".count(f"\n{old}")
        assert places == 1, f"{places} places, not one, hold these lines:\n{old}"
        text = f"\n{text}".replace(f"\n{old}", f"\n{new}")[1:]
    return text


def _hunks(lines: list[str]) -> Iterator[list[str]]:
    """Edits of one block, which lines `@@` separate."""
    hunk: list[str] = []
    for line in [*lines, "@@"]:
        if line == "@@":
            yield hunk
            hunk = []
        else:
            assert line[:1] in {" ", "+", "-", ""}, f"neither +, - nor a space: {line}"
            hunk.append(line)


def _run(command: str, folder: Path, environment: Mapping[str, str], python: WarmPython) -> str:
    """What a command prints. Raises AssertionError where it fails."""
    words = shlex.split(command.replace("\\\n", " "))
    own = dict(itertools.takewhile(lambda pair: pair[1], (_assignment(word) for word in words)))
    output = folder / ".printed"
    output.unlink(missing_ok=True)
    status = python.run(words[len(own) :], {**environment, **own}, folder, output)
    printed = output.read_text("utf-8")
    assert status == 0, f"{command}\n{printed}"
    return printed


def _assignment(word: str) -> tuple[str, str]:
    """Name and value of a variable that a command sets before its program; else no value."""
    name, _, value = word.partition("=")
    return name, value if name.isupper() else ""


def check_output(expected: str, printed: str) -> None:
    """Raise AssertionError unless the lines expected are among those printed, in order.

    White space does not count, numbers may differ by 2 % (other processors add in another order),
    and `...` stands for any words of a line, or for any lines.
    """
    lines = iter(printed.splitlines())
    for line in expected.splitlines():
        if line.strip() not in {"", "..."}:
            found = any(_alike(line.split(), other.split()) for other in lines)
            assert found, f"not printed: {line}\n{printed}"


def _alike(line: Sequence[str], other: Sequence[str]) -> bool:
    """True where a printed line, in words, is the one expected."""
    if not line or not other:
        return (not line and not other) or list(line) == ["..."]
    if line[0] == "...":
        return any(_alike(line[1:], other[place:]) for place in range(len(other) + 1))
    return _same_word(line[0], other[0]) and _alike(line[1:], other[1:])


def _same_word(word: str, other: str) -> bool:
    try:
        return math.isclose(float(word), float(other), rel_tol=0.02)
    except ValueError:
        return word == other
