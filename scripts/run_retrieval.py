"""Score one variant on retrieval sets: embed, search exactly, measure; one load for all sets."""

import functools
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from prunescope import progress
from prunescope.evaluation import retrieval_scores
from prunescope.machine import runtime
from prunescope.model import loading
from prunescope.progress import LOG
from prunescope.storage import digests, finished, store
from prunescope.tables.schemas import TABLES


def run_retrieval(
    source: loading.VariantSource,
    manifest_file: str,
    sets: Mapping[str, Mapping[str, Any]],
    settings: retrieval_scores.Settings,
    scores_file: str,
    samples_file: str,
    made_by: Mapping[str, object],
) -> None:
    """Write tables `retrieval_scores` and `retrieval_samples` of one variant.

    Parameters
    ----------
    source : the variant. manifest_file : what `fetch_model` wrote about its dense model.
    sets : by name the files `corpus`, `queries` and `qrels`, the set's `instruction` if it has one,
        and whether its `queries_are_documents`.
    settings : how texts are embedded, and where embeddings are kept.
    scores_file, samples_file : what is written.
    made_by : the provenance that the tables carry.
    """
    device = runtime.prepare(source.threads)

    @functools.cache
    def variant() -> Any:
        return loading.load_variant(source).variant.model

    embedding = settings.embedding
    made_from = {
        "manifest": digests.sha256(Path(manifest_file)),
        "edit": digests.sha256(Path(source.edit_file)),
        "dtype": source.dtype,
        "code": settings.embedding_code,
    }
    reader = retrieval_scores.reader_of(source.model_dir, variant, embedding, made_from)
    scores: list[dict[str, object]] = []
    samples: list[dict[str, object]] = []
    for name, entry in sets.items():
        cache = Path(settings.cache_dir) / name
        files = {key: digests.sha256(Path(entry[key])) for key in ("corpus", "queries", "qrels")}
        decides = {"code": settings.code, "settings": embedding, "set": {**entry, **files}}
        kept = finished.file(scores_file, name, {**made_from, **decides})
        result = finished.taken_over(kept)
        if result is None:
            LOG.info("retrieval set %s", name)
            result = retrieval_scores.score(name, entry, reader, cache, device)
            finished.keep(kept, result)
        found, rows = result
        scores += [{**row, "pooling": embedding["pooling"]} for row in found]
        samples += rows
        retrieval_scores.delete_if_large(cache, settings.keep_embeddings_mb)
    for file, table, rows in (
        (scores_file, "retrieval_scores", scores),
        (samples_file, "retrieval_samples", samples),
    ):
        store.write(file, pa.Table.from_pylist(rows, TABLES[table].schema), table, made_by)
    shutil.rmtree(finished.folder(scores_file))


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    given, params, threads = snakemake.input, snakemake.params, snakemake.config["threads"]
    recorded = {name: params[name] for name in ("sets", "dtype", "kind")}
    recorded |= {"embedding": params.settings, "threads": threads}
    entries = zip(params.sets.items(), given.corpus, given.queries, given.qrels, strict=True)
    names = ("cache_dir", "keep_embeddings_mb", "embedding_code", "code")
    with progress.job("run_retrieval", snakemake.log[0]):
        run_retrieval(
            loading.VariantSource(given.model, given.edit, params.dtype, threads, params.kind),
            manifest_file=given.manifest,
            sets={
                name: {**entry, "corpus": corpus, "queries": queries, "qrels": qrels}
                for (name, entry), corpus, queries, qrels in entries
            },
            settings=retrieval_scores.Settings(
                params.settings, **{name: params[name] for name in names}
            ),
            scores_file=snakemake.output.scores,
            samples_file=snakemake.output.samples,
            made_by=store.provenance("run_retrieval", recorded),
        )
