"""What a query asks for, as DuckDB itself parses it: no table or view needs to be there.

DuckDB tells the syntax tree of a SELECT as JSON (`json_serialize_sql`). A view or table that is
made on the way is known by the SELECT after its first AS. Other statements read nothing.
"""

import functools
import json
from collections.abc import Iterable, Iterator
from typing import Any

import duckdb

Node = dict[str, Any]


def parameters(sql: str) -> list[str]:
    """Names of the `$name` parameters of all statements. Raises ValueError for invalid SQL."""
    return _each_once(name for each in _statements(sql) for name in sorted(each.named_parameters))


def tables(sql: str) -> list[str]:
    """Tables and views that the statements read, each once, without those defined by WITH.

    Raises ValueError if DuckDB cannot parse a statement.
    """
    own = {each["key"] for node in _nodes(sql) if "map" in node for each in node["map"]}
    read = (node["table_name"] for node in _nodes(sql) if node.get("type") == "BASE_TABLE")
    return [name for name in _each_once(read) if name not in own]


def numbers_equal_to(column: str, sql: str) -> list[str]:
    """Numbers, as written, with which the statements compare a column for equality, each once."""
    compared = [node for node in _nodes(sql) if node.get("type") == "COMPARE_EQUAL"]
    sides = [(node["left"], node["right"]) for node in compared]
    return _each_once(
        other["literal"]["text"]
        for one, other in (*sides, *((right, left) for left, right in sides))
        if one.get("column_names", [""])[-1] == column
        and other.get("literal", {}).get("kind") in ("INTEGER", "NUMERIC")
    )


def _each_once(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


@functools.cache
def _parser() -> duckdb.DuckDBPyConnection:
    """One empty database for all queries: opening it takes longer than parsing them."""
    return duckdb.connect(config={"threads": 1})


@functools.cache
def _statements(sql: str) -> list[duckdb.Statement]:
    try:
        return _parser().extract_statements(sql)
    except duckdb.ParserException as error:
        raise ValueError(str(error)) from None


@functools.cache
def _nodes(sql: str) -> tuple[Node, ...]:
    """Every node of the statements' syntax trees, a node before those below it."""
    selects = [_selected(each.query) for each in _statements(sql)]
    told = "SELECT json_serialize_sql(each) FROM (SELECT unnest(?) AS each)"
    trees = [json.loads(tree) for (tree,) in _parser().execute(told, [selects]).fetchall()]
    return tuple(node for tree in trees for node in _with_inner(tree))


def _with_inner(part: Any) -> Iterator[Node]:
    if isinstance(part, dict):
        yield part
    for each in part.values() if isinstance(part, dict) else part:
        if isinstance(each, dict | list):
            yield from _with_inner(each)


def _selected(statement: str) -> str:
    """The SELECT of a statement that creates a view or a table; other statements unchanged.

    For statements that are not a SELECT, DuckDB's JSON contains an error instead of a tree.
    """
    text = statement.encode()  # tokens are counted in bytes
    kinds = duckdb.tokenize(statement)
    starts = [start for start, kind in kinds if kind == duckdb.token_type.keyword]
    words = [text[start:].split(maxsplit=1)[0].upper() for start in starts]
    if words[:1] != [b"CREATE"] or b"AS" not in words:
        return statement
    return text[starts[words.index(b"AS")] + len("AS") :].decode()
