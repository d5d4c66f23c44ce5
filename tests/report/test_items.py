"""The page of items: which items it shows, and that no text in them becomes anything but text."""

import json
from html.parser import HTMLParser
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from prunescope.report import items, page
from prunescope.tables.schemas import TABLES

HOSTILE = "</script><img src=x onerror=alert(1)><!--\u2028"


def found(
    outcomes: dict[str, list[float]], most: int = items.MOST, suites: str = "s", **changed: Any
) -> Any:
    """Tasks and items of the page, from the outcomes of each variant, the same in each suite."""
    keys = {"model": "m", "task": "t", "metric": "acc", "filter": "none"}
    scores = [
        {**keys, "suite": suite, "variant": variant, "metric": metric, "headline": metric == "acc"}
        | {"higher_is_better": True, "family": "generative", "n_shot": 0, "n_items": 1, "n_cut": 0}
        | {"seconds": 1.0, **changed}
        for suite in suites
        for variant in outcomes
        for metric in ("acc", "other")
    ]
    samples = [
        {**keys, "suite": suite, "variant": variant, "metric": metric, "subtask": "t", "item": item}
        | {"outcome": outcome if metric == "acc" else 1 - outcome, "context": HOSTILE}
        | {"options": None, "response": f"{variant} {item}", "target": "right", "doc_hash": "0"}
        for suite in suites
        for variant, each in outcomes.items()
        for item, outcome in enumerate(each)
        for metric in ("acc", "other")
    ]
    with duckdb.connect() as connection:
        for name, rows in {"task_scores": scores, "task_samples": samples}.items():
            connection.register(name, pa.Table.from_pylist(rows, TABLES[name].empty().schema))
        sql = items.QUERY.read_text(encoding="utf-8")
        table = connection.sql(sql, params={"most": most}).to_arrow_table()
    return items.by_task(table.to_pylist())


def test_items_with_another_outcome_are_shown_with_both_answers() -> None:
    (task,) = found({"dense": [1, 0, 1], "v": [1, 1, 0], "w": [1, 0, 0.5]})
    assert (task["asked"], task["left_out"]) == (3, 0)
    assert [entry["item"] for entry in task["items"]] == [1, 2]
    better, worse = task["items"]
    assert better["dense"] == {"response": "dense 1", "outcome": 0}
    assert better["variants"] == {"v": {"response": "v 1", "outcome": 1}}
    assert {name: each["outcome"] for name, each in worse["variants"].items()} == {"v": 0, "w": 0.5}


def test_a_task_of_two_suites_is_shown_for_each() -> None:
    outcomes = {"dense": [1, 0], "v": [0, 0]}
    assert found(outcomes, suites="ab") == [
        *found(outcomes, suites="a"),
        *found(outcomes, suites="b"),
    ]


def test_what_is_left_out_is_counted() -> None:
    (task,) = found({"dense": [1] * 5, "v": [0] * 5}, most=2)
    assert [entry["item"] for entry in task["items"]] == [0, 1]
    assert task["left_out"] == 3


@pytest.mark.parametrize(
    "outcomes", [{"dense": [1, 0], "v": [1, 0]}, {"v": [1, 0]}], ids=["equal", "without dense"]
)
def test_nothing_changed_is_an_empty_page(outcomes) -> None:
    assert found(outcomes) == []
    assert 'id="items"' in page.render_items([])


def test_perplexities_are_left_out() -> None:
    assert found({"dense": [1.0], "v": [2.0]}, higher_is_better=False) == []


class Tags(HTMLParser):
    """The tags of a page, with their attributes, and the text of its data."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.data = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] == ("script", {"type": "application/json", "id": "data"}):
            self.data += data


def test_texts_of_a_model_stay_data() -> None:
    tasks = found({"dense": [1], HOSTILE: [0]})
    read = Tags(page.render_items(tasks))
    assert not [tag for tag, attributes in read.tags if tag == "img" or "onerror" in attributes]
    assert json.loads(read.data.split("\n")[0]) == tasks
    (policy,) = [a["content"] for tag, a in read.tags if "http-equiv" in a]
    assert "unsafe" not in str(policy)
    behaviour = page._report_file("items.js")
    assert "innerHTML" not in behaviour
    assert "insertAdjacentHTML" not in behaviour
