"""Fetch one dense model into the store, as a folder in the layout of the hub and a manifest."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prunescope import progress
from prunescope.inputs import dense_models, sources
from prunescope.storage import store


def fetch_model(
    source: Mapping[str, str],
    n_blocks: int | None,
    model_dir: str,
    manifest_file: str,
    kind: str | None = None,
) -> None:
    """Fetch a model to a scratch folder, check it, rename the folder, and write the manifest.

    Parameters
    ----------
    source : where the model is, as in config.
    n_blocks : number of transformer blocks that config expects; None accepts any number.
    model_dir : the folder to write.
    manifest_file : the JSON file to write, with what the model is and the hashes of its files.
    kind : `causal` or `encoder`; None checks only what holds for both.
    """
    with sources.scratch(beside=model_dir) as scratch:
        model = scratch / "model"
        model.mkdir()
        if source["from"] == "hub":  # may refuse the model before gigabytes of weights are fetched
            dense_models.refuse(
                dense_models.config_refusals(sources.model_files(source, scratch, weights=False)),
                source,
            )
        dense_models.fill(model, source, scratch, kind)
        config = dense_models.read_config(model, source)
        dense_models.check_blocks(config["num_hidden_layers"], n_blocks, source)
        shutil.rmtree(model_dir, ignore_errors=True)
        store.move(model, Path(model_dir))
    manifest = dense_models.describe(Path(model_dir), config, source)
    store.write_json(manifest_file, dict(sorted(manifest.items())), indent=2)


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    with progress.job("fetch_model", snakemake.log[0]):
        fetch_model(
            source=snakemake.params.source,
            n_blocks=snakemake.params.n_blocks,
            model_dir=snakemake.output.model,
            manifest_file=snakemake.output.manifest,
            kind=snakemake.params.kind,
        )
