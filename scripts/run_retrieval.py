"""Score one variant on retrieval sets: embed, search exactly, measure; one load for all sets."""

import functools
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from prunescope import progress
from prunescope.evaluation import retrieval, text_embedding
from prunescope.inputs import model_config
from prunescope.machine import runtime
from prunescope.model import edits, loading
from prunescope.progress import LOG, JobError
from prunescope.storage import digests, finished, store
from prunescope.tables.schemas import TABLES

NO_LIMIT = 2**30
"""Tokens that no text has."""

DOCUMENTS_TOGETHER = 65536
"""Documents embedded, kept as one file and searched at a time: 1 GB at d = 4096."""


def run_retrieval(
    model_dir: str,
    manifest_file: str,
    edit_file: str,
    sets: Mapping[str, Mapping[str, Any]],
    cache_dir: str,
    settings: Mapping[str, Any],
    dtype: str,
    kind: str,
    embedding_code: str,
    code: str,
    keep_embeddings_mb: int,
    threads: int,
    scores_file: str,
    samples_file: str,
    made_by: Mapping[str, object],
) -> None:
    """Write tables `retrieval_scores` and `retrieval_samples` of one variant.

    Parameters
    ----------
    sets : by name the files `corpus`, `queries` and `qrels`, the set's `instruction` if it has one,
        and whether its `queries_are_documents`.
    cache_dir : where the embeddings of a set are kept until it is scored: a killed job goes on with
        what is there.
    keep_embeddings_mb : those of a set that take no more are kept from one run to the next.
    settings : the model's `embedding` in config.
    embedding_code : fingerprint of the code that makes embeddings; `code`: of all of this.
    """
    device = runtime.prepare(threads)

    @functools.cache
    def variant() -> Any:
        dense = loading.load(model_dir, dtype, device, kind)
        return loading.apply_edit(dense, edits.read(edit_file))

    check_context(Path(model_dir), settings["max_length"])
    tokenizer = Path(model_dir) / "tokenizer.json"
    pooling = {"pooling": settings["pooling"], "normalize": settings["normalize"]}
    made_from = {
        "manifest": digests.sha256(Path(manifest_file)),
        "edit": digests.sha256(Path(edit_file)),
        "dtype": dtype,
        "code": embedding_code,
    }
    around = {key: settings[key] for key in ("starts_with", "ends_with") if key in settings}
    encode = text_embedding.encoder(tokenizer, settings["max_length"], **around)
    embed = text_embedding.Embedder(variant, encode, pooling, made_from)
    whole = text_embedding.encoder(tokenizer, NO_LIMIT, **around)
    were_cut = functools.partial(text_embedding.were_cut, encode, whole, settings["max_length"])
    scores: list[dict[str, object]] = []
    samples: list[dict[str, object]] = []
    for name, entry in sets.items():
        cache = Path(cache_dir) / name
        files = {key: digests.sha256(Path(entry[key])) for key in ("corpus", "queries", "qrels")}
        decides = {**made_from, "code": code, "settings": settings, "set": {**entry, **files}}
        kept = finished.file(scores_file, name, decides)
        result = finished.taken_over(kept)
        if result is None:
            LOG.info("retrieval set %s", name)
            result = score(
                name, entry, instruction(settings, entry), embed, were_cut, cache, device
            )
            finished.keep(kept, result)
        found, rows = result
        scores += [{**row, "pooling": settings["pooling"]} for row in found]
        samples += rows
        forget_if_large(cache, keep_embeddings_mb)
    for file, table, rows in (
        (scores_file, "retrieval_scores", scores),
        (samples_file, "retrieval_samples", samples),
    ):
        store.write(file, pa.Table.from_pylist(rows, TABLES[table].schema), table, made_by)
    shutil.rmtree(finished.folder(scores_file))


def forget_if_large(cache: Path, keep_mb: int) -> None:
    """Delete the embeddings of a scored set if they take more than `keep_mb`, in 10^6 bytes."""
    size = sum(file.stat().st_size for file in cache.glob("*"))
    if size > keep_mb * 10**6:
        LOG.info("%s: %.0f MB deleted (retrieval/keep_embeddings_mb)", cache, size / 10**6)
        shutil.rmtree(cache)


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
    name: str,
    entry: Mapping[str, Any],
    template: str,
    embed: text_embedding.Embedder,
    were_cut: Callable[[Sequence[str]], list[bool]],
    cache: Path,
    device: torch.device,
) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Rows of `retrieval_scores`, pooling left out, and of `retrieval_samples` for one set."""
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
        embed(asked, cache / "queries.safetensors").to(device),
        (rows.to(device) for rows in chunks(corpus.take(order), n_relevant, embed, cache)),
        relevant,
        left_out,
    )
    values = retrieval.measured(ranking, list(queries), ids, qrels)
    seconds = time.perf_counter() - began
    queries_cut = were_cut(asked)
    documents_cut = [
        cut
        for batch in corpus.take(order).to_batches(DOCUMENTS_TOGETHER)
        for cut in were_cut(documents(batch.to_pylist()))
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


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    params = snakemake.params
    recorded = {
        "embedding": params.settings,
        "sets": params.sets,
        "dtype": params.dtype,
        "kind": params.kind,
        "threads": snakemake.config["threads"],
    }
    paths = zip(
        params.sets, snakemake.input.corpus, snakemake.input.queries, snakemake.input.qrels,
        strict=True,
    )  # fmt: skip
    with progress.job("run_retrieval", snakemake.log[0]):
        run_retrieval(
            model_dir=snakemake.input.model,
            manifest_file=snakemake.input.manifest,
            edit_file=snakemake.input.edit,
            sets={
                name: {**params.sets[name], "corpus": corpus, "queries": queries, "qrels": qrels}
                for name, corpus, queries, qrels in paths
            },
            cache_dir=params.cache_dir,
            settings=params.settings,
            dtype=params.dtype,
            kind=params.kind,
            embedding_code=params.embedding_code,
            code=params.code,
            keep_embeddings_mb=params.keep_embeddings_mb,
            threads=snakemake.config["threads"],
            scores_file=snakemake.output.scores,
            samples_file=snakemake.output.samples,
            made_by=store.provenance("run_retrieval", recorded),
        )
