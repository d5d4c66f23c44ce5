"""Average what each history adds to Δz and to KL over steps and prompts, with intervals."""

from collections.abc import Mapping
from typing import Any

from prunescope import progress
from prunescope.inference import prompt_means
from prunescope.report import queries
from prunescope.storage import store


def average_histories(
    tables: Mapping[str, str], effects_file: str, made_by: Mapping[str, object]
) -> None:
    """Write table `history_effect` of one variant.

    Parameters
    ----------
    tables : the file of each of `history_term`, `decoding_trace` and `noise_floor`, below which
        deviations do not count.
    effects_file : the file to write.
    made_by : provenance, written into the metadata of the file.
    """
    with store.open_tables({name: [file] for name, file in tables.items()}) as connection:
        queries.prepare(connection)
        of_prompts = queries.units(connection, "FROM prompt_histories", {})
    store.write(effects_file, prompt_means.effects(of_prompts), "history_effect", made_by)


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    with progress.job("average_histories", snakemake.log[0]):
        average_histories(
            tables=dict(snakemake.input.items()),
            effects_file=snakemake.output.effects,
            made_by=store.provenance("average_histories", {}),
        )
