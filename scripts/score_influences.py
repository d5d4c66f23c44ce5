"""Score the influence of every sublayer and block of one dense model on calibration text."""

from collections.abc import Mapping
from typing import Any

import torch

from prunescope import progress
from prunescope.compression import influence
from prunescope.machine import runtime
from prunescope.model import loading
from prunescope.storage import store

TOKENS_TOGETHER = 2048
"""Tokens per forward pass: enough for the full speed of matrix products, with little memory."""


def score_influences(
    model_dir: str,
    calibration_file: str,
    influence_file: str,
    dtype: str,
    kind: str,
    threads: int,
    made_by: Mapping[str, object],
) -> None:
    """Write table `influence` of one model.

    Parameters
    ----------
    model_dir : folder of the dense model.
    calibration_file : table `calibration` of the model.
    influence_file : the file to write.
    dtype, kind, threads : number type of the weights, kind of the model, and number of CPU
        threads.
    made_by : provenance, written into the metadata of the file.
    """
    device = runtime.prepare(threads)
    model = loading.load(model_dir, dtype, device, kind)
    sequences = store.read(calibration_file, "calibration").column("token_ids").to_pylist()
    token_ids = torch.tensor(sequences)
    batches = token_ids.split(max(1, TOKENS_TOGETHER // token_ids.shape[1]))
    rows = influence.influences(model, progress.track(batches, "influence"))
    store.write(influence_file, rows, "influence", made_by)


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    settings = {"dtype": snakemake.params.dtype, "kind": snakemake.params.kind}
    with progress.job("score_influences", snakemake.log[0]):
        score_influences(
            model_dir=snakemake.input.model,
            calibration_file=snakemake.input.calibration,
            influence_file=snakemake.output.influence,
            threads=snakemake.config["threads"],
            made_by=store.provenance("score_influences", settings),
            **settings,
        )
