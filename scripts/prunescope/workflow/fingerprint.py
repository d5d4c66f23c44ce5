"""The fingerprint of a rule's code, which the rule passes as `params: code=...`.

Snakemake notices that a script has changed, but not that a module imported by it has, and it takes
a touched script for a changed one. The fingerprint is a hash of every local module that a script
reaches, and changes only if what the code computes may change.
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
    file
    for pattern in ("progress.py", "tables/[!_]*.py", "storage/seals.py", "storage/store.py")
    for file in (_SCRIPTS / "prunescope").glob(pattern)
)
"""Modules that are left out, because they only pass on numbers and messages."""


@functools.cache
def fingerprint(*entries: str) -> str:
    """Hash of the given files and of every local module that they import, directly or indirectly.

    A Python file is hashed as its syntax tree without docstrings, so that comments, docstrings and
    touching do not change the fingerprint. Files in reports/ include their module docstring,
    because it is the caption of the figure. An SQL file is hashed without comments and white space,
    together with the views of reports/views/ and the CSV files of reports/ that it names. Any other
    file is hashed byte by byte.

    Parameters
    ----------
    entries : paths relative to scripts/, like that of a rule's `script:`: `compress_model.py`,
        `prunescope/compression/methods/wanda.py`, `../reports/style.css`.

    Raises
    ------
    FileNotFoundError
        if an entry does not exist.
    """
    files = sorted({file for entry in entries for file in _reachable_files(_entry_file(entry))})
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(_SCRIPTS.parent)} {_file_hash(file)}\n".encode())
    return digest.hexdigest()[:16]


def _entry_file(entry: str) -> Path:
    file = (_SCRIPTS / entry).resolve()
    if not file.is_file():
        raise FileNotFoundError(
            f"fingerprint({entry!r}): there is no file {file}. "
            "Entries are relative to scripts/. Correct the rule, or write the file."
        )
    return file


def _reachable_files(entry: Path) -> set[Path]:
    """The entry and every local module that it imports, directly or indirectly, except carriers."""
    reachable: set[Path] = set()
    waiting = [entry]
    while waiting:
        file = waiting.pop()
        if file not in reachable and file not in CARRIERS:
            reachable.add(file)
            waiting.extend(_referenced_files(file))
    return reachable


@functools.cache
def _referenced_files(file: Path) -> tuple[Path, ...]:
    """Local files on which a file depends directly.

    A Python file depends on the local modules that it imports and on their packages; a query on
    the views and CSV files that it names.
    """
    if file.suffix == ".sql":
        words = set(re.findall(r"\w+", _normalise_sql(file.read_text(encoding="utf-8"))))
        sql_inputs = sorted([*_REPORTS.glob("views/*.sql"), *_REPORTS.glob("*.csv")])
        return tuple(file_named for file_named in sql_inputs if file_named.stem in words)
    if file.suffix != ".py":
        return ()
    names = (name for node in ast.walk(_parse(file)) for name in _imported_names(node, file))
    return tuple(module for name in names for module in _module_files(name))


def _imported_names(node: ast.AST, file: Path) -> Iterator[str]:
    """Dotted names of the modules that an import statement may load.

    In `from a import b`, b may be a module, so that a.b is included.
    """
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        package = file.relative_to(_SCRIPTS.parent).parts[1:-1] if node.level else ()
        parents = package[: len(package) - node.level + 1]
        base = ".".join([*parents, *(node.module or "").split(".")]).rstrip(".")
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names)


def _module_files(name: str) -> Iterator[Path]:
    """Files under scripts/ that are executed when a dotted name is imported."""
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        path = _SCRIPTS.joinpath(*parts[:depth])
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                yield file


@functools.cache
def _file_hash(file: Path) -> str:
    if file.suffix == ".py":
        content = ast.dump(_parse_without_docstrings(file)).encode()
    elif file.suffix == ".sql":
        content = _normalise_sql(file.read_text(encoding="utf-8")).encode()
    else:
        content = file.read_bytes()
    return hashlib.sha256(content).hexdigest()


@functools.cache
def _parse(file: Path) -> ast.Module:
    return ast.parse(file.read_bytes(), filename=str(file))


def _parse_without_docstrings(file: Path) -> ast.Module:
    """Syntax tree without statements that are only a string, except captions of reports/."""
    tree = ast.parse(file.read_bytes(), filename=str(file))
    caption = tree.body[:1] if file.is_relative_to(_REPORTS) else []
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            node.body = [  # type: ignore[attr-defined]
                statement
                for statement in body
                if statement in caption or not _is_bare_string(statement)
            ]
    return tree


def _is_bare_string(statement: ast.AST) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


_SQL_PARTS = re.compile(
    r"""(?P<kept> '(?:[^']|'')*' | "(?:[^"]|"")*" )  # literals and quoted names
    | (?P<space> (?: \s | --[^\n]* | /\*.*?\*/ )+ )  # white space and comments
    """,
    re.VERBOSE | re.DOTALL,
)


def _normalise_sql(query: str) -> str:
    """The query with white space and comments reduced to single spaces, and literals unchanged."""
    return _SQL_PARTS.sub(lambda part: part["kept"] or " ", query).strip()
