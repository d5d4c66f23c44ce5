"""One retrieval set scored by one variant: embed, search exactly, measure, say what was cut."""

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
"""Tokens that no text has."""

DOCUMENTS_TOGETHER = 65536
"""Documents embedded, kept as one file and searched at a time: 1 GB at d = 4096."""

Scored = tuple[list[dict[str, object]], list[dict[str, object]]]
"""Rows of `retrieval_scores` and of `retrieval_samples`."""


@dataclass(frozen=True)
class Settings:
    """How a variant is scored on retrieval sets, and what its embeddings depend on.

    Attributes
    ----------
    embedding : the model's `embedding` in config.
    cache_dir : where the embeddings of a set are kept until it is scored: a killed job goes on with
        what is there.
    keep_embeddings_mb : those of a set that take no more, in 10^6 bytes, are kept from one run to
        the next.
    embedding_code : fingerprint of the code that makes embeddings. code : of all of this.
    """

    embedding: Mapping[str, Any]
    cache_dir: str
    keep_embeddings_mb: int
    embedding_code: str
    code: str


class Reader(NamedTuple):
    """How a variant reads texts.

    settings : the model's `embedding` in config. embed : texts to vectors. were_cut : which texts
    are longer than what is read of them.
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
    """How the variant reads texts. Raises JobError if the model cannot read texts of that length.

    Parameters
    ----------
    model_dir : folder of the dense model.
    variant : loads the variant; called when something has to be embedded.
    settings : the model's `embedding` in config.
    made_from : what an embedding depends on beside the text and its pooling.
    """
    check_context(Path(model_dir), settings["max_length"])
    tokenizer = Path(model_dir) / "tokenizer.json"
    around = {key: settings[key] for key in ("starts_with", "ends_with") if key in settings}
    encode = text_embedding.encoder(tokenizer, settings["max_length"], **around)
    whole = text_embedding.encoder(tokenizer, NO_LIMIT, **around)
    pooling = {"pooling": settings["pooling"], "normalize": settings["normalize"]}
    return Reader(
        settings,
        text_embedding.Embedder(variant, encode, pooling, made_from),
        functools.partial(text_embedding.were_cut, encode, whole, settings["max_length"]),
    )


def check_context(model_dir: Path, max_length: int) -> None:
    """Raise JobError if the model cannot read texts of that length."""
    longest = model_config.positions_in(model_dir)
    if longest is not None and max_length > longest:
        raise JobError(
            f"embedding/max_length is {max_length}, but the model reads at most {longest} tokens. "
            "Set a smaller max_length."
        )


def instruction(settings: Mapping[str, Any], entry: Mapping[str, Any]) -> str:
    """What a query is put into: the model's template, with the set's own instruction in it."""
    template: str = settings.get("query_instruction", "{query}")
    return template.replace("{instruction}", entry.get("instruction", ""))


def score(
    name: str, entry: Mapping[str, Any], reader: Reader, cache: Path, device: torch.device
) -> Scored:
    """Rows of `retrieval_scores`, pooling left out, and of `retrieval_samples` for one set.

    Parameters
    ----------
    name, entry : the set's, in config, with the files `corpus`, `queries` and `qrels`.
    reader : embeds its texts.
    cache : folder of the set's embeddings.
    device : where the search is done.
    """
    template = instruction(reader.settings, entry)
    began = time.perf_counter()
    queries, corpus, qrels = read_set(entry)
    ids = corpus.column("_id").to_pylist()
    order, n_relevant = retrieval.relevant_first(ids, qrels)
    ids = [ids[i] for i in order]
    place = {document: i for i, document in enumerate(ids)}
    relevant = [
        [place[d] for d, grade in qrels[query].items() if grade > 0 and d in place]
        for query in queries
    ]
    own = entry.get("queries_are_documents", False)
    left_out = [place.get(query) if own else None for query in queries]
    asked = [template.replace("{query}", text) for text in queries.values()]
    ranking = retrieval.search(
        reader.embed(asked, cache / "queries.safetensors").to(device),
        (rows.to(device) for rows in chunks(corpus.take(order), n_relevant, reader.embed, cache)),
        relevant,
        left_out,
    )
    values = retrieval.metrics_by_query(ranking, list(queries), ids, qrels)
    seconds = time.perf_counter() - began
    queries_cut = reader.were_cut(asked)
    documents_cut = [
        cut
        for batch in corpus.take(order).to_batches(DOCUMENTS_TOGETHER)
        for cut in reader.were_cut(documents(batch.to_pylist()))
    ]
    if n_cut := sum(queries_cut) + sum(documents_cut):
        LOG.warning(
            "%s: %d queries and %d documents are longer than embedding/max_length: their rest is "
            "not read",
            name,
            sum(queries_cut),
            sum(documents_cut),
        )
    scores = [
        {
            "retrieval_set": name,
            "metric": metric,
            "score": sum(each[metric] for each in values) / len(values),
            "n_queries": len(queries),
            "n_documents": len(ids),
            "n_cut": n_cut,
            "seconds": seconds,
        }
        for metric in retrieval.MEASURES
    ]
    samples = [
        {
            "retrieval_set": name,
            "query": query,
            **each,
            "rank": None if math.isnan(rank) else rank,
            "best_score": best,
            "n_cut": cut + sum(documents_cut[i] for i in wanted),
        }
        for query, each, rank, best, cut, wanted in zip(
            queries,
            values,
            ranking.rank.tolist(),
            ranking.scores[:, 0].tolist(),
            queries_cut,
            relevant,
            strict=True,
        )
    ]
    return scores, samples


def read_set(
    entry: Mapping[str, Any],
) -> tuple[dict[str, str], pa.Table, dict[str, dict[str, int]]]:
    """Query id -> text; the documents; the judgements of every query."""
    rows = store.read(entry["queries"], "retrieval_queries").to_pylist()
    queries = {row["_id"]: row["text"] for row in rows}
    qrels: dict[str, dict[str, int]] = {query: {} for query in queries}
    for row in store.read(entry["qrels"], "retrieval_qrels").to_pylist():
        qrels[row["query-id"]][row["corpus-id"]] = row["score"]
    return queries, store.read(entry["corpus"], "retrieval_corpus"), qrels


def chunks(
    corpus: pa.Table, n_relevant: int, embed: text_embedding.Embedder, cache: Path
) -> Iterator[Tensor]:
    """Embeddings of the documents in order, the relevant ones in the first chunk."""
    first = max(n_relevant, min(DOCUMENTS_TOGETHER, corpus.num_rows))
    starts = [0, *range(first, corpus.num_rows, DOCUMENTS_TOGETHER)]
    for number, (start, end) in enumerate(zip(starts, [*starts[1:], None], strict=True)):
        rows = corpus.slice(start, None if end is None else end - start)
        yield embed(documents(rows.to_pylist()), cache / f"documents-{number:05}.safetensors")


def documents(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """What is embedded of a document: title and text with a space between, as BEIR does."""
    return [f"{row['title']} {row['text']}".strip() for row in rows]


def forget_if_large(cache: Path, keep_mb: int) -> None:
    """Delete the embeddings of a scored set if they take more than `keep_mb`, in 10^6 bytes."""
    size = sum(file.stat().st_size for file in cache.glob("*"))
    if size > keep_mb * 10**6:
        LOG.info("%s: %.0f MB deleted (retrieval/keep_embeddings_mb)", cache, size / 10**6)
        shutil.rmtree(cache)
