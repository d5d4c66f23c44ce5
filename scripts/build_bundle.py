"""Build results/bundle/: the data of every figure and every verdict, with a data dictionary."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prunescope import progress
from prunescope.inputs import sources
from prunescope.report import bundle
from prunescope.storage import store


def build_bundle(
    figures: Sequence[str], verdicts: Sequence[str], bundle_dir: str, commit: str
) -> None:
    """Write the bundle.

    Parameters
    ----------
    figures : files that `draw_figure` wrote, named after the figures.
    verdicts : files of table `claim_verdict`, in folders named after the figures.
    bundle_dir : the folder to write.
    commit : commit of the source that makes it, which the metadata name.
    """
    drawn = {Path(file).stem: store.read_json(file) for file in figures}
    judged = [
        (Path(file).parent.name.removeprefix("figure="), store.read(file, "claim_verdict"))
        for file in verdicts
    ]
    with sources.scratch(beside=bundle_dir) as scratch:
        folder = scratch / "bundle"
        folder.mkdir()
        bundle.write(folder, drawn, bundle.joined(judged), commit)
        shutil.rmtree(bundle_dir, ignore_errors=True)
        store.move(folder, Path(bundle_dir))


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    with progress.job("build_bundle", snakemake.log[0]):
        build_bundle(
            figures=list(snakemake.input.figures),
            verdicts=list(snakemake.input.verdicts),
            bundle_dir=snakemake.output.bundle,
            commit=str(store.provenance("build_bundle", {})["commit"]),
        )
