"""Judge the claims of one figure by its tables: holds, fails, undecided or not tested."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import duckdb

from prunescope import progress
from prunescope.inference import claims, verdicts
from prunescope.report import queries
from prunescope.storage import replicates, store
from prunescope.tables.schemas import TABLES


def judge_claims(
    figure: str,
    tables: Mapping[str, Sequence[str]],
    surprisals: Sequence[str],
    settings: Mapping[str, object],
    verdicts_file: str,
    made_by: Mapping[str, object],
) -> None:
    """Write table `claim_verdict` of one figure.

    Parameters
    ----------
    figure : stem of the figure.
    tables : files of each table that the figure reads, by the name of the table, and their
        replicates.
    surprisals : files of table `surprisal` of the models of the figure.
    settings : values of the `$named` parameters of the figure's query.
    verdicts_file : the file to write.
    made_by : provenance, written into the metadata of the file.
    """
    measured: dict[str, list[dict[str, Any]]] = {}
    for seed, of_seed in replicates.by_seed(tables).items():
        with store.open_tables(of_seed) as connection:
            queries.prepare(connection)
            for claim in claims.of_figure(figure):
                rows = units_of(claim, connection, tables, settings)
                measured.setdefault(claim.name, []).extend({**row, "seed": seed} for row in rows)
    with store.open_tables({"surprisal": surprisals}) as connection:
        known = connection.sql("FROM surprisal").to_arrow_table().to_pylist()
    of_claims = [(claim, measured[claim.name]) for claim in claims.of_figure(figure)]
    rows = verdicts.judged(of_claims, verdicts.untrained(known))
    store.write(verdicts_file, rows, "claim_verdict", made_by)


def units_of(
    claim: claims.Claim,
    connection: duckdb.DuckDBPyConnection,
    tables: Iterable[str],
    settings: Mapping[str, object],
) -> list[dict[str, Any]]:
    """Rows of a claim's query.

    Parameters
    ----------
    claim : the claim.
    connection : to the tables of its figure, prepared by `queries.prepare`.
    tables : names of these tables, for the message if the query needs another.
    settings : values of the `$named` parameters of the figure's query.
    """
    sql = claim.query_file.read_text(encoding="utf-8")
    try:
        return queries.units(connection, sql, {**settings, **claim.settings})
    except duckdb.Error as error:
        reason = str(error).partition("\n")[0]
        raise progress.JobError(
            f"claim {claim.name} of reports/claims.yaml cannot be judged by what "
            f"figures/{claim.figure} reads ({', '.join(tables)}): {reason} Add what is missing "
            "to its `reads` in config, or take the claim out."
        ) from error


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    figure = snakemake.wildcards.figure
    with progress.job("judge_claims", snakemake.log[0]):
        judge_claims(
            figure=figure,
            tables={name: list(files) for name, files in snakemake.input.items() if name in TABLES},
            surprisals=list(snakemake.input.trained),
            settings=snakemake.params.settings,
            verdicts_file=snakemake.output.verdicts,
            made_by=store.provenance("judge_claims", {"figure": figure}),
        )
