"""Score one variant on retrieval sets by exact search, with one load of the model."""

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
    settings: retrieval_scores.RetrievalSettings,
    scores_file: str,
    samples_file: str,
    made_by: Mapping[str, object],
) -> None:
    """Write tables `retrieval_scores` and `retrieval_samples` of one variant.

    Parameters
    ----------
    source : the variant.
    manifest_file : the manifest that `fetch_model` wrote for the dense model.
    sets : the retrieval sets by name: `corpus`, `queries` and `qrels` are files, `instruction` and
        `queries_are_documents` are as in config.
    settings : how texts are embedded, and where embeddings are kept.
    scores_file, samples_file : the files to write, one per table.
    made_by : provenance, written into the metadata of the files.
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
        further_inputs = {"code": settings.code, "settings": embedding, "set": {**entry, **files}}
        part_file = finished.file(scores_file, name, {**made_from, **further_inputs})
        result = finished.taken_over(part_file)
        if result is None:
            LOG.info("retrieval set %s", name)
            result = retrieval_scores.score(name, entry, reader, cache, device)
            finished.keep(part_file, result)
        set_scores, set_samples = result
        scores += [{**row, "pooling": embedding["pooling"]} for row in set_scores]
        samples += set_samples
        retrieval_scores.delete_if_large(cache, settings.keep_embeddings_mb)
    for file, table, rows in (
        (scores_file, "retrieval_scores", scores),
        (samples_file, "retrieval_samples", samples),
    ):
        store.write(file, pa.Table.from_pylist(rows, TABLES[table].schema), table, made_by)
    shutil.rmtree(finished.folder(scores_file))


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    inputs, params, threads = snakemake.input, snakemake.params, snakemake.config["threads"]
    recorded = {name: params[name] for name in ("sets", "dtype", "kind")}
    recorded |= {"embedding": params.settings, "threads": threads}
    entries = zip(params.sets.items(), inputs.corpus, inputs.queries, inputs.qrels, strict=True)
    names = ("cache_dir", "keep_embeddings_mb", "embedding_code", "code")
    settings = {name: params[name] for name in names}
    with progress.job("run_retrieval", snakemake.log[0]):
        run_retrieval(
            loading.VariantSource(inputs.model, inputs.edit, params.dtype, threads, params.kind),
            manifest_file=inputs.manifest,
            sets={
                name: {**entry, "corpus": corpus, "queries": queries, "qrels": qrels}
                for (name, entry), corpus, queries, qrels in entries
            },
            settings=retrieval_scores.RetrievalSettings(params.settings, **settings),
            scores_file=snakemake.output.scores,
            samples_file=snakemake.output.samples,
            made_by=store.provenance("run_retrieval", recorded),
        )
