"""A hash of the code that decides a number: what a rule passes as `params: code=...`.

Snakemake sees a script change, but not a module the script imports, and it takes a touch for a
change. This hash sees every local module a script reaches, and nothing but what it computes.
"""

import ast
import functools
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from prunescope import paths

_SCRIPTS, _REPORTS = paths.SCRIPTS, paths.REPORTS

CARRIERS = frozenset(
    _SCRIPTS / "prunescope" / name
    for name in ("progress.py", "tables/schemas.py", "storage/seals.py", "storage/store.py")
)
"""Modules left out: they carry numbers and messages, they do not make them."""


@functools.cache
def fingerprint(*entries: str) -> str:
    """Hash of the entries and of every local module they import, transitively.

    Python counts by its syntax tree without docstrings, so a comment, a docstring or a touch
    changes nothing; under reports/ the module docstring counts, for it is the figure's caption.
    SQL counts without comments and white space, with the views of reports/views/ and the CSV files
    of reports/ whose names it says. Any other file counts byte by byte.

    Parameters
    ----------
    entries : files relative to scripts/, written as a rule's `script:` is: `compress_model.py`,
        `prunescope/compression/methods/wanda.py`, `../reports/style.css`.

    Raises
    ------
    FileNotFoundError
        if an entry does not exist.
    """
    files = sorted({file for entry in entries for file in _closure(_entry_file(entry))})
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(_SCRIPTS.parent)} {_file_hash(file)}\n".encode())
    return digest.hexdigest()[:16]


def _entry_file(entry: str) -> Path:
    file = (_SCRIPTS / entry).resolve()
    if not file.is_file():
        raise FileNotFoundError(
            f"fingerprint({entry!r}): there is no file {file}. "
            "Entries are relative to scripts/; correct the rule, or write the file."
        )
    return file


def _closure(entry: Path) -> set[Path]:
    """The entry and every local module it reaches, carriers left out."""
    found: set[Path] = set()
    waiting = [entry]
    while waiting:
        file = waiting.pop()
        if file not in found and file not in CARRIERS:
            found.add(file)
            waiting.extend(_imports(file))
    return found


@functools.cache
def _imports(file: Path) -> tuple[Path, ...]:
    """Local modules that a Python file imports, with the packages that hold them.

    Of a query, the views and the files of printed numbers that it names.
    """
    if file.suffix == ".sql":
        words = set(re.findall(r"\w+", _normal_sql(file.read_text(encoding="utf-8"))))
        named = sorted([*_REPORTS.glob("views/*.sql"), *_REPORTS.glob("*.csv")])
        return tuple(each for each in named if each.stem in words)
    if file.suffix != ".py":
        return ()
    names = (name for node in ast.walk(_parsed(file)) for name in _imported_names(node, file))
    return tuple(module for name in names for module in _modules(name))


def _imported_names(node: ast.AST, file: Path) -> Iterator[str]:
    """Dotted names an import statement may load; `from a import b` may mean module a.b."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        package = file.relative_to(_SCRIPTS.parent).parts[1:-1] if node.level else ()
        parents = package[: len(package) - node.level + 1]
        base = ".".join([*parents, *(node.module or "").split(".")]).rstrip(".")
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names)


def _modules(name: str) -> Iterator[Path]:
    """Files that importing a dotted name runs, as far as they lie under scripts/."""
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        path = _SCRIPTS.joinpath(*parts[:depth])
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                yield file


@functools.cache
def _file_hash(file: Path) -> str:
    if file.suffix == ".py":
        content = ast.dump(_without_docstrings(file)).encode()
    elif file.suffix == ".sql":
        content = _normal_sql(file.read_text(encoding="utf-8")).encode()
    else:
        content = file.read_bytes()
    return hashlib.sha256(content).hexdigest()


@functools.cache
def _parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_bytes(), filename=str(file))


def _without_docstrings(file: Path) -> ast.Module:
    """Syntax tree without texts that stand alone, except the caption of a file in reports/."""
    tree = ast.parse(file.read_bytes(), filename=str(file))
    caption = tree.body[:1] if file.is_relative_to(_REPORTS) else []
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            node.body = [  # type: ignore[attr-defined]
                line for line in body if line in caption or not _stands_alone(line)
            ]
    return tree


def _stands_alone(line: ast.AST) -> bool:
    return (
        isinstance(line, ast.Expr)
        and isinstance(line.value, ast.Constant)
        and isinstance(line.value.value, str)
    )


_SQL_PARTS = re.compile(
    r"""(?P<kept> '(?:[^']|'')*' | "(?:[^"]|"")*" )  # literals and quoted names
    | (?P<space> (?: \s | --[^\n]* | /\*.*?\*/ )+ )  # white space and comments
    """,
    re.VERBOSE | re.DOTALL,
)


def _normal_sql(query: str) -> str:
    """The query with white space and comments reduced to one space, literals as they are."""
    return _SQL_PARTS.sub(lambda part: part["kept"] or " ", query).strip()
