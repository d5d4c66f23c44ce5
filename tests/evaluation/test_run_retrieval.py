"""One job scores a variant on all its retrieval sets; scores depend on the model alone."""

import math
import shutil

import pyarrow as pa
import pytest
import torch

import run_retrieval
from prunescope.evaluation import retrieval_scores, text_embedding
from prunescope.model import edits, loading
from prunescope.progress import JobError
from prunescope.storage import store
from prunescope.tables.schemas import TABLES
from tiny import TEXTS, make_tiny_model
from tiny_inputs import names_below

SETTINGS = {"pooling": "last_token", "normalize": True, "max_length": 24}
TITLES = ["", "animals", "", "a question"]


@pytest.fixture
def variant(tmp_path):
    """Run the job for a model folder and an edit; return both tables' rows."""
    model_dir = make_tiny_model(tmp_path / "model")
    store.write_json(tmp_path / "model.json", {"files": {}})

    def run(sets, edit=None, keep_embeddings_mb=1, code="0", **settings):
        edits.write(tmp_path / "edit.safetensors", edit or edits.Edit(), {})
        files = {name: str(tmp_path / f"{name}.parquet") for name in ("scores", "samples")}
        run_retrieval.run_retrieval(
            loading.VariantSource(
                str(model_dir), str(tmp_path / "edit.safetensors"), "float32", threads=1
            ),
            manifest_file=str(tmp_path / "model.json"),
            sets=sets,
            settings=retrieval_scores.RetrievalSettings(
                embedding=SETTINGS | settings,
                cache_dir=str(tmp_path / "embeddings"),
                keep_embeddings_mb=keep_embeddings_mb,
                embedding_code="0",
                code=code,
            ),
            scores_file=files["scores"],
            samples_file=files["samples"],
            made_by={},
        )
        return [store.read(file, f"retrieval_{n}").to_pylist() for n, file in files.items()]

    return run, tmp_path


def a_set(folder, queries, qrels, **entry):
    """TEXTS as documents d0 to d3, in the store's files."""
    rows = {
        "corpus": [
            {"_id": f"d{i}", "title": title, "text": text}
            for i, (title, text) in enumerate(zip(TITLES, TEXTS, strict=True))
        ],
        "queries": [{"_id": name, "text": text} for name, text in queries.items()],
        "qrels": [
            {"query-id": query, "corpus-id": document, "score": grade}
            for query, grades in qrels.items()
            for document, grade in grades.items()
        ],
    }
    files = {name: folder / f"set-{len(list(folder.iterdir()))}-{name}.parquet" for name in rows}
    for name, file in files.items():
        table = f"retrieval_{name}"
        store.write(file, pa.Table.from_pylist(rows[name], TABLES[table].schema), table, {})
    return {**files, **entry}


def by_hand(folder, texts, edit=None):
    """Unit vectors of texts from the saved model, one by one."""
    dense = loading.load(folder / "model", "float32", torch.device("cpu"))
    model = loading.apply_edit(dense, edit or edits.Edit())
    tokenizer = loading.load_tokenizer(folder / "model")
    rows = []
    for text in texts:
        ids = tokenizer(text, return_tensors="pt").input_ids[:, : SETTINGS["max_length"]]
        h = model(ids, output_hidden_states=True).hidden_states[-1][0, -1]
        rows.append(h / h.norm())
    return torch.stack(rows)


QUERIES = {"q0": "a fox and a dog", "q1": "which letter", "q2": "passengers at sea"}
QRELS = {"q0": {"d0": 1, "d3": 2}, "q1": {"d2": 1}, "q2": {"d1": 0}}


@pytest.mark.parametrize("dropped", [{}, {"attn": (1,), "mlp": (0,)}], ids=str)
def test_scores_equal_those_of_single_texts_and_a_full_sort(variant, dropped):
    """Rank, nDCG and recall of each query."""
    run, folder = variant
    edit = edits.Edit(dropped=dropped)
    template = "query: {query} ({instruction})"
    sets = {"fox": a_set(folder, QUERIES, QRELS, instruction="find it")}
    scores, samples = run(sets, edit, query_instruction=template)
    texts = [f"{t} {x}".strip() for t, x in zip(TITLES, TEXTS, strict=True)]
    asked = [f"query: {text} (find it)" for text in QUERIES.values()]
    similar = by_hand(folder, asked, edit) @ by_hand(folder, texts, edit).T
    order = similar.argsort(descending=True)
    for row, (query, grades) in enumerate(QRELS.items()):
        found = samples[row]
        gains = [grades.get(f"d{i}", 0) for i in order[row].tolist()]
        dcg = sum(g / math.log2(r + 2) for r, g in enumerate(gains))
        ideal = sum(g / math.log2(r + 2) for r, g in enumerate(sorted(gains, reverse=True)))
        assert (found["retrieval_set"], found["query"]) == ("fox", query)
        assert found["ndcg_at_10"] == pytest.approx(dcg / ideal if ideal else 0, abs=1e-6)
        relevant = [r + 1 for r, g in enumerate(gains) if g > 0]
        assert found["rank"] == (min(relevant) if relevant else None)
        assert found["recall_at_100"] == (1 if relevant else 0)
        assert found["best_score"] == pytest.approx(float(similar[row].max()), abs=1e-5)
    means = {row["metric"]: row["score"] for row in scores}
    for metric, mean in means.items():
        assert mean == pytest.approx(sum(each[metric] for each in samples) / 3)
    assert {(r["n_queries"], r["n_documents"], r["pooling"]) for r in scores} == {
        (3, 4, "last_token")
    }


def test_the_model_is_loaded_once_and_stored_embeddings_are_reused(variant, monkeypatch):
    """Embeddings are kept: the same numbers again without the model, until a library changes."""
    run, folder = variant
    loads, load = [], loading.load
    monkeypatch.setattr(loading, "load", lambda *args: loads.append(args) or load(*args))
    monkeypatch.setattr(retrieval_scores, "DOCUMENTS_TOGETHER", 3)
    one, two = (a_set(folder, QUERIES, QRELS) for _ in range(2))
    _, first = run({"one": one, "two": two})
    _, again = run({"one": one, "two": two})
    assert len(loads) == 1 and first == again
    run({"one": one}, edits.Edit(dropped={"mlp": (0,)}))
    assert len(loads) == 2
    upgraded = {**store.versions(), "torch": "99.0"}
    monkeypatch.setattr(store, "versions", lambda: upgraded)
    run({"one": one}, edits.Edit(dropped={"mlp": (0,)}))
    assert len(loads) == 3


def test_embeddings_beyond_the_size_limit_are_deleted_after_scoring(variant):
    """Numbers are the same, and neither vectors nor temporary files remain."""
    run, folder = variant
    sets = {"one": a_set(folder, QUERIES, QRELS)}
    _, kept = run(sets)
    assert names_below(folder / "embeddings") == [
        "one",
        "one/documents-00000.safetensors",
        "one/queries.safetensors",
    ]
    _, forgotten = run(sets, keep_embeddings_mb=0)
    assert forgotten == kept
    assert names_below(folder / "embeddings") == []
    assert not [name for name in names_below(folder) if "finished" in name]


@pytest.mark.parametrize("code", ["0", "1"], ids=["the same code", "other code"])
def test_a_killed_job_resumes_after_its_scored_sets(variant, monkeypatch, code):
    """Killed during its second set, it embeds only missing texts, although no vectors were kept."""
    run, folder = variant
    one = a_set(folder, QUERIES, QRELS)
    two = a_set(folder, {"q": "seven wagons"}, {"q": {"d1": 1}})
    _, whole = run({"one": one, "two": two})
    shutil.rmtree(folder / "embeddings")

    embed, texts = text_embedding.embed, []

    def killed(model, sequences, **how):
        if len(sequences) == 1:  # the second set's query
            raise KeyboardInterrupt
        return embed(model, sequences, **how)

    def counted(model, sequences, **how):
        texts.append(len(sequences))
        return embed(model, sequences, **how)

    monkeypatch.setattr(text_embedding, "embed", killed)
    with pytest.raises(KeyboardInterrupt):
        run({"one": one, "two": two}, keep_embeddings_mb=0)
    monkeypatch.setattr(text_embedding, "embed", counted)
    _, again = run({"one": one, "two": two}, keep_embeddings_mb=0, code=code)
    assert again == whole
    assert sum(texts) == 1 + len(TEXTS) + (len(QUERIES) + len(TEXTS) if code == "1" else 0)


def test_a_killed_job_resumes_after_the_finished_chunks_of_a_set(variant, monkeypatch):
    run, folder = variant
    monkeypatch.setattr(retrieval_scores, "DOCUMENTS_TOGETHER", 3)  # 3 and 1, the relevant first
    sets = {"one": a_set(folder, QUERIES, QRELS)}
    _, whole = run(sets, keep_embeddings_mb=0)
    embed, texts = text_embedding.embed, []

    def killed(model, sequences, **how):
        texts.append(len(sequences))
        if len(sequences) == 1:  # the last chunk
            raise KeyboardInterrupt
        return embed(model, sequences, **how)

    monkeypatch.setattr(text_embedding, "embed", killed)
    with pytest.raises(KeyboardInterrupt):
        run(sets, keep_embeddings_mb=0)
    assert texts == [3, 3, 1]
    monkeypatch.setattr(
        text_embedding,
        "embed",
        lambda *args, **how: texts.append(len(args[1])) or embed(*args, **how),
    )
    _, again = run(sets, keep_embeddings_mb=0)
    assert again == whole
    assert texts == [3, 3, 1, 1]


def test_a_query_that_is_a_document_is_not_its_own_result(variant):
    run, folder = variant
    queries = {"d0": TEXTS[0], "d2": TEXTS[2]}
    qrels = {"d0": {"d1": 1}, "d2": {"d3": 1}}
    _, as_any = run({"s": a_set(folder, queries, qrels)})
    _, itself = run({"s": a_set(folder, queries, qrels, queries_are_documents=True)})
    assert [row["rank"] for row in itself] == [row["rank"] - 1 for row in as_any]


def test_texts_longer_than_the_context_of_the_model_are_refused(variant):
    run, folder = variant
    with pytest.raises(JobError, match=r"max_length is 5000, but the model reads at most 4096"):
        run({"s": a_set(folder, QUERIES, QRELS)}, max_length=5000)


def test_truncated_texts_are_counted(variant):
    """For each query, its own text and relevant documents; one that just fits is not counted."""
    run, folder = variant
    qrels = {"q0": {"d0": 1, "d1": 1}, "q1": {"d2": 1}}
    found_set = a_set(folder, {"q0": TEXTS[0], "q1": TEXTS[3]}, qrels)
    encode = text_embedding.encoder(folder / "model/tokenizer.json", 1 << 20)
    asked = {"q0": len(encode([TEXTS[0]])[0]), "q1": len(encode([TEXTS[3]])[0])}
    texts = [f"{title} {text}".strip() for title, text in zip(TITLES, TEXTS, strict=True)]
    held = [len(ids) for ids in encode(texts)]
    for limit in (min(held), max(held)):
        scores, samples = run({"set": found_set}, max_length=limit)
        counts = {row["query"]: row["n_cut"] for row in samples}
        assert counts == {
            query: sum(n > limit for n in (asked[query], *(held[int(d[1])] for d in grades)))
            for query, grades in qrels.items()
        }
        expected = sum(n > limit for n in (*asked.values(), *held))
        assert {row["n_cut"] for row in scores} == {expected}
    assert expected == sum(n > max(held) for n in asked.values())
