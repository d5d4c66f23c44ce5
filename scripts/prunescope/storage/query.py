"""Questions to a store in SQL: `python -m prunescope.storage.query store "SELECT ..."`.

Without a question, statements are read from standard input, one after the other, each up to its
semicolon. The catalog is opened for reading only, in its own folder, since its views name files
relative to it.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb

CATALOG = "catalog.duckdb"

_WELCOME = (
    "Statements end with a semicolon; SHOW TABLES; lists the tables, DESCRIBE name; its columns, "
    "Ctrl-D ends."
)


def answer(folder: str | Path, sql: str) -> str:
    """The result of a statement as a table of text; empty if it has none.

    Parameters
    ----------
    folder : the store, or another folder that holds a catalog.
    sql : one statement.

    Raises
    ------
    FileNotFoundError
        if the folder holds no catalog.
    duckdb.Error
        if the statement is wrong.
    """
    catalog = Path(folder) / CATALOG
    if not catalog.is_file():
        raise FileNotFoundError(
            f"{catalog} is not there. `make report` makes it, at the end of the run."
        )
    with contextlib.chdir(folder), duckdb.connect(CATALOG, read_only=True) as connection:
        found = connection.sql(sql)
        return "" if found is None else str(found)


def statements() -> Iterator[str]:
    """Statements from standard input, each without its semicolon."""
    if sys.stdin.isatty():
        import readline  # noqa: F401 gives `input` a history

        sys.stdout.write(f"{_WELCOME}\n")
    lines: list[str] = []
    while True:
        try:
            lines.append(input(("> " if not lines else ". ") if sys.stdin.isatty() else ""))
        except EOFError:
            break
        if lines[-1].rstrip().endswith(";"):
            yield "\n".join(lines)
            lines = []
    if "".join(lines).strip():
        yield "\n".join(lines)


def main() -> int:
    """Answer the question of the command line, or those of standard input."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", help="folder of the store")
    parser.add_argument("sql", nargs="?", default=os.environ.get("SQL"), help="a statement")
    arguments = parser.parse_args()
    failed = False
    for sql in [arguments.sql] if arguments.sql else statements():
        try:
            sys.stdout.write(f"{answer(arguments.store, sql)}\n")
        except (duckdb.Error, FileNotFoundError) as error:
            sys.stderr.write(f"{error}\n")
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
