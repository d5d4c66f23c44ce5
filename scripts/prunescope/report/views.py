"""Views that several figures share, reports/views/<name>.sql: created if a query reads them."""

from prunescope.paths import REPORTS
from prunescope.report import parsed_sql

VIEWS = REPORTS / "views"
"""The folder of the views: one query per file, and the file has the name of the view."""


def read_by(sql: str) -> dict[str, str]:
    """Name -> query of each view that a query reads; a view comes after those that it reads."""
    queries: dict[str, str] = {}
    for name in parsed_sql.tables(sql):
        file = VIEWS / f"{name}.sql"
        if file.is_file():
            view = file.read_text(encoding="utf-8")
            queries |= {**read_by(view), name: view}
    return queries


def with_views(sql: str) -> str:
    """The query, preceded by statements that create the views that it reads."""
    statements = [f"CREATE TEMP VIEW {name} AS\n{view};\n" for name, view in read_by(sql).items()]
    return "\n".join([*statements, sql])
