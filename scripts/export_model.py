"""Export one variant as a plain Hugging Face checkpoint, and check that its logits are equal."""

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prunescope import progress
from prunescope.compression import export
from prunescope.inputs import sources
from prunescope.model import loading
from prunescope.storage import store


def export_model(
    source: loading.VariantSource,
    prompt_texts: Mapping[str, Mapping[str, str]],
    checkpoint_dir: str,
    made_by: Mapping[str, object],
) -> None:
    """Write the checkpoint to a scratch folder, compare it with the variant, and then rename it.

    Parameters
    ----------
    source : the variant.
    prompt_texts : section `prompts` of config, on which checkpoint and variant are compared.
    checkpoint_dir : the folder to write.
    made_by : provenance, written to `prunescope.json` in the folder.
    """
    loaded = loading.load_variant(source)
    with sources.scratch(beside=checkpoint_dir) as scratch:
        folder = scratch / "checkpoint"
        export.write(folder, loaded.dense, loaded.edit, source.model_dir)
        texts = [prompt["text"] for prompt in prompt_texts.values()]
        proof = export.prove(folder, loaded.variant.model, loaded.tokenizer, texts)
        progress.LOG.info("%s", proof)
        description = {**made_by, "proof": dataclasses.asdict(proof)}
        text = json.dumps(description, indent=2, sort_keys=True) + "\n"
        (folder / "prunescope.json").write_text(text, encoding="utf-8")
        shutil.rmtree(checkpoint_dir, ignore_errors=True)
        store.move(folder, Path(checkpoint_dir))


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    settings = {
        **snakemake.wildcards,
        "dtype": snakemake.params.dtype,
        "edit": snakemake.params.settings,
    }
    with progress.job("export_model", snakemake.log[0]):
        export_model(
            source=loading.VariantSource(
                model_dir=snakemake.input.model,
                edit_file=snakemake.input.edit,
                dtype=snakemake.params.dtype,
                threads=snakemake.config["threads"],
                prompting=snakemake.params.prompting,
            ),
            prompt_texts=snakemake.params.prompts,
            checkpoint_dir=snakemake.output.checkpoint,
            made_by=store.provenance("export_model", settings),
        )
