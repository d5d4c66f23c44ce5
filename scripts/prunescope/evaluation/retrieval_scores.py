"""Score a variant on a retrieval set: embed texts, search exactly, and compute metrics."""

import functools
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import torch
from torch import Tensor

from prunescope.evaluation import retrieval, text_embedding
from prunescope.inputs import model_config
from prunescope.progress import LOG, JobError
from prunescope.storage import store

NO_LIMIT = 2**30
"""A number of tokens that no text exceeds."""

DOCUMENTS_TOGETHER = 65536
"""Documents that are embedded, stored in a file and searched at a time: 1 GB at d = 4096."""

Scored = tuple[list[dict[str, object]], list[dict[str, object]]]
"""Rows of `retrieval_scores` and of `retrieval_samples`."""


@dataclass(frozen=True)
class RetrievalSettings:
    """Settings of scoring on retrieval sets, and what the embeddings depend on.

    Attributes
    ----------
    embedding : `embedding` of the model in the config.
    cache_dir : folder for the embeddings of a set until it is scored, so that a killed job can
        resume.
    keep_embeddings_mb : embeddings of a set up to this size, in 10^6 bytes, are kept for later
        runs.
    embedding_code : fingerprint of the code that computes embeddings.
    code : fingerprint of all code of this stage.
    """

    embedding: Mapping[str, Any]
    cache_dir: str
    keep_embeddings_mb: int
    embedding_code: str
    code: str


class Reader(NamedTuple):
    """How a variant embeds texts.

    Attributes
    ----------
    settings : `embedding` of the model in the config.
    embed : maps texts to vectors.
    were_cut : says for each text whether it is truncated.
    """

    settings: Mapping[str, Any]
    embed: text_embedding.Embedder
    were_cut: Callable[[Sequence[str]], list[bool]]


def reader_of(
    model_dir: str,
    variant: Callable[[], Any],
    settings: Mapping[str, Any],
    made_from: Mapping[str, str],
) -> Reader:
    """Make the reader of a variant. Raises JobError if max_length exceeds the model's positions.

    Parameters
    ----------
    model_dir : folder of the dense model.
    variant : loads the variant; called only if texts have to be embedded.
    settings : `embedding` of the model in the config.
    made_from : what embeddings depend on besides the text and the pooling.
    """
    check_context(Path(model_dir), settings["max_length"])
    tokenizer = Path(model_dir) / "tokenizer.json"
    surrounding_text = {
        key: settings[key] for key in ("starts_with", "ends_with") if key in settings
    }
    encode = text_embedding.encoder(tokenizer, settings["max_length"], **surrounding_text)
    encode_whole = text_embedding.encoder(tokenizer, NO_LIMIT, **surrounding_text)
    pooling = {"pooling": settings["pooling"], "normalize": settings["normalize"]}
    return Reader(
        settings,
        text_embedding.Embedder(variant, encode, pooling, made_from),
        functools.partial(text_embedding.were_cut, encode, encode_whole, settings["max_length"]),
    )


def check_context(model_dir: Path, max_length: int) -> None:
    """Raise JobError if the model has fewer positions than `max_length`."""
    longest = model_config.positions_in(model_dir)
    if longest is not None and max_length > longest:
        raise JobError(
            f"embedding/max_length is {max_length}, but the model reads at most {longest} tokens. "
            "Set a smaller max_length."
        )


def instruction(settings: Mapping[str, Any], entry: Mapping[str, Any]) -> str:
    """The template for queries: that of the model, with the instruction of the set."""
    template: str = settings.get("query_instruction", "{query}")
    return template.replace("{instruction}", entry.get("instruction", ""))


class _Searched(NamedTuple):
    """A retrieval set after its search.

    Attributes
    ----------
    query_ids, query_texts : ids of the queries, and their texts as they are embedded.
    corpus : the documents, with all relevant ones first.
    relevant : indices in `corpus` of the relevant documents of each query.
    ranking : result of the search.
    values : the metrics of each query by name.
    """

    query_ids: list[str]
    query_texts: list[str]
    corpus: pa.Table
    relevant: list[list[int]]
    ranking: retrieval.Ranking
    values: list[dict[str, float]]


def score(
    name: str, entry: Mapping[str, Any], reader: Reader, cache: Path, device: torch.device
) -> Scored:
    """Rows of `retrieval_scores` (without pooling) and of `retrieval_samples` for one set.

    Parameters
    ----------
    name, entry : name and entry of the set in the config, with the files `corpus`, `queries` and
        `qrels`.
    reader : embeds the texts.
    cache : folder for the embeddings of the set.
    device : device of the search.
    """
    start_time = time.perf_counter()
    searched = _search(entry, reader, cache, device)
    seconds = time.perf_counter() - start_time
    queries_cut = reader.were_cut(searched.query_texts)
    documents_cut = [
        cut
        for batch in searched.corpus.to_batches(DOCUMENTS_TOGETHER)
        for cut in reader.were_cut(documents(batch.to_pylist()))
    ]
    if n_cut := sum(queries_cut) + sum(documents_cut):
        LOG.warning(
            "%s: %d queries and %d documents are longer than embedding/max_length and are "
            "truncated",
            name,
            sum(queries_cut),
            sum(documents_cut),
        )
    scores = [
        {
            "retrieval_set": name,
            "metric": metric,
            "score": sum(each[metric] for each in searched.values) / len(searched.values),
            "n_queries": len(searched.query_ids),
            "n_documents": searched.corpus.num_rows,
            "n_cut": n_cut,
            "seconds": seconds,
        }
        for metric in retrieval.MEASURES
    ]
    return scores, _samples(name, searched, queries_cut, documents_cut)


def _search(
    entry: Mapping[str, Any], reader: Reader, cache: Path, device: torch.device
) -> _Searched:
    """Embed and search one set; parameters as in `score`."""
    template = instruction(reader.settings, entry)
    queries, unordered, qrels = read_set(entry)
    unordered_ids = unordered.column("_id").to_pylist()
    order, n_relevant = retrieval.relevant_first(unordered_ids, qrels)
    corpus, ids = unordered.take(order), [unordered_ids[i] for i in order]
    index_of = {document: i for i, document in enumerate(ids)}
    relevant = [
        [index_of[d] for d, grade in qrels[query].items() if grade > 0 and d in index_of]
        for query in queries
    ]
    queries_are_documents = entry.get("queries_are_documents", False)
    left_out = [index_of.get(query) if queries_are_documents else None for query in queries]
    query_texts = [template.replace("{query}", text) for text in queries.values()]
    ranking = retrieval.search(
        reader.embed(query_texts, cache / "queries.safetensors").to(device),
        (rows.to(device) for rows in chunks(corpus, n_relevant, reader.embed, cache)),
        relevant,
        left_out,
    )
    values = retrieval.metrics_by_query(ranking, list(queries), ids, qrels)
    return _Searched(list(queries), query_texts, corpus, relevant, ranking, values)


def _samples(
    name: str, searched: _Searched, queries_cut: list[bool], documents_cut: list[bool]
) -> list[dict[str, object]]:
    """Rows of `retrieval_samples`.

    Parameters
    ----------
    name : name of the set.
    searched : the set after its search.
    queries_cut, documents_cut : whether each query and each document was truncated.
    """
    return [
        {
            "retrieval_set": name,
            "query": query,
            **values,
            "rank": None if math.isnan(rank) else rank,
            "best_score": best,
            "n_cut": cut + sum(documents_cut[i] for i in relevant),
        }
        for query, values, rank, best, cut, relevant in zip(
            searched.query_ids,
            searched.values,
            searched.ranking.rank.tolist(),
            searched.ranking.scores[:, 0].tolist(),
            queries_cut,
            searched.relevant,
            strict=True,
        )
    ]


def read_set(
    entry: Mapping[str, Any],
) -> tuple[dict[str, str], pa.Table, dict[str, dict[str, int]]]:
    """Texts of the queries by id, the documents, and the judgements of every query by id."""
    rows = store.read(entry["queries"], "retrieval_queries").to_pylist()
    queries = {row["_id"]: row["text"] for row in rows}
    qrels: dict[str, dict[str, int]] = {query: {} for query in queries}
    for row in store.read(entry["qrels"], "retrieval_qrels").to_pylist():
        qrels[row["query-id"]][row["corpus-id"]] = row["score"]
    return queries, store.read(entry["corpus"], "retrieval_corpus"), qrels


def chunks(
    corpus: pa.Table, n_relevant: int, embed: text_embedding.Embedder, cache: Path
) -> Iterator[Tensor]:
    """Yield embeddings of the documents in order, with all relevant ones in the first chunk.

    Parameters
    ----------
    corpus : the documents, with all relevant ones first.
    n_relevant : number of relevant documents.
    embed : embeds texts, and caches the vectors in a file.
    cache : folder for the embeddings of the set.
    """
    first = max(n_relevant, min(DOCUMENTS_TOGETHER, corpus.num_rows))
    starts = [0, *range(first, corpus.num_rows, DOCUMENTS_TOGETHER)]
    for number, (start, end) in enumerate(zip(starts, [*starts[1:], None], strict=True)):
        rows = corpus.slice(start, None if end is None else end - start)
        yield embed(documents(rows.to_pylist()), cache / f"documents-{number:05}.safetensors")


def documents(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """The text to embed per document: title and text, joined by a space as in BEIR."""
    return [f"{row['title']} {row['text']}".strip() for row in rows]


def delete_if_large(cache: Path, keep_mb: int) -> None:
    """Delete the embeddings of a scored set if they exceed `keep_mb`, in 10^6 bytes."""
    size = sum(file.stat().st_size for file in cache.glob("*"))
    if size > keep_mb * 10**6:
        LOG.info("%s: %.0f MB deleted (retrieval/keep_embeddings_mb)", cache, size / 10**6)
        shutil.rmtree(cache)
