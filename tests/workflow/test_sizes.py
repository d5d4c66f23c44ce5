"""Functions have few parameters, and rule scripts and queries are short."""

import ast

import pytest

from prunescope.paths import REPORTS, SCRIPTS

MOST_PARAMETERS = 8
"""Of a function or method; `*rest` and `**options` count as one each."""

MOST_LINES = 100
"""Of a rule script; what is not about files belongs in the package."""

MOST_LINES_OF_SQL = 85
"""Of a query or view; a longer one states something twice, or holds a view without a name."""

MODULES = sorted(SCRIPTS.rglob("*.py"))
RULE_SCRIPTS = sorted(SCRIPTS.glob("*.py"))
QUERIES = sorted(REPORTS.glob("*/*.sql"))


def functions_of(module):
    """Name and number of parameters of every function in a file."""
    for node in ast.walk(ast.parse(module.read_bytes())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            given = node.args
            named = len(given.posonlyargs) + len(given.args) + len(given.kwonlyargs)
            rest = (given.vararg is not None) + (given.kwarg is not None)
            yield f"{module.stem}.{getattr(node, 'name', 'lambda')}", named + rest


def test_functions_have_few_parameters():
    """Related arguments are one object."""
    counts = [pair for module in MODULES for pair in functions_of(module)]
    assert [name for name, count in counts if count > MOST_PARAMETERS] == []


@pytest.mark.parametrize("script", RULE_SCRIPTS, ids=lambda script: script.stem)
def test_rule_scripts_fit_a_screen(script):
    assert len(script.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.stem)
def test_queries_fit_a_screen(query):
    """Statistics are computed in the stage of inference."""
    assert len(query.read_text(encoding="utf-8").splitlines()) <= MOST_LINES_OF_SQL
