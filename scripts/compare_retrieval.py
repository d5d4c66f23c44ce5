"""Compare the retrieval scores of one variant with those of dense, query by query."""

from collections.abc import Mapping
from typing import Any

from prunescope import progress
from prunescope.inference import paired_tasks, score_differences
from prunescope.storage import store


def compare_retrieval(
    files: Mapping[str, str],
    qrels: Mapping[str, str],
    settings: Mapping[str, Mapping[str, Any]],
    differences_file: str,
    seed: int,
    made_by: Mapping[str, object],
) -> None:
    """Write table `retrieval_difference` of one variant.

    Parameters
    ----------
    files : files of table `retrieval_samples` of dense (`dense_samples`) and of the variant
        (`samples`), and of table `retrieval_scores` of the variant (`scores`).
    qrels : file of the judgements of each retrieval set, from which chance follows.
    settings : settings of each set; a query that is a document is not ranked itself.
    differences_file : the file to write.
    seed : seed of the resampling.
    made_by : provenance, written into the metadata of the file.

    Raises
    ------
    JobError
        if dense and the variant did not answer the same queries.
    """
    n_documents = {
        row["retrieval_set"]: row["n_documents"]
        - bool(settings[row["retrieval_set"]].get("queries_are_documents"))
        for row in store.read(files["scores"], "retrieval_scores").to_pylist()
    }
    grades: dict[tuple[str, str], list[int]] = {}
    for name, file in qrels.items():
        for row in store.read(file, "retrieval_qrels").to_pylist():
            grades.setdefault((name, row["query-id"]), []).append(row["score"])

    def chance_of(name: str, query: str, metric: str) -> float:
        judged = grades.get((name, query), [])
        return paired_tasks.chance_of_ranking(judged, n_documents[name], metric)

    dense, variant = (
        store.read(files[name], "retrieval_samples") for name in ("dense_samples", "samples")
    )
    tasks = paired_tasks.of_retrieval(dense, variant, chance_of)
    rows = score_differences.differences("retrieval_difference", tasks, seed)
    store.write(differences_file, rows, "retrieval_difference", made_by)


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    inputs, params = snakemake.input, snakemake.params
    with progress.job("compare_retrieval", snakemake.log[0]):
        compare_retrieval(
            files={name: inputs[name] for name in ("dense_samples", "samples", "scores")},
            qrels=dict(zip(params.sets, inputs.qrels, strict=True)),
            settings=params.sets,
            differences_file=snakemake.output.differences,
            seed=params.seed,
            made_by=store.provenance("compare_retrieval", {"seed": params.seed}),
        )
