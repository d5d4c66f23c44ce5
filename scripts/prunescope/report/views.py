"""Views that several figures read: reports/views/<name>.sql, made where a query reads them."""

from prunescope.paths import REPORTS
from prunescope.report import parsed_sql

VIEWS = REPORTS / "views"
"""One query a file; its name is the view's."""


def read_by(sql: str) -> dict[str, str]:
    """Name -> query of every view that a query reads, those that others rest on first."""
    found: dict[str, str] = {}
    for name in parsed_sql.tables(sql):
        file = VIEWS / f"{name}.sql"
        if file.is_file():
            view = file.read_text(encoding="utf-8")
            found |= {**read_by(view), name: view}
    return found


def with_views(sql: str) -> str:
    """The query with the views that it reads made before it."""
    made = [f"CREATE TEMP VIEW {name} AS\n{view};\n" for name, view in read_by(sql).items()]
    return "\n".join([*made, sql])
