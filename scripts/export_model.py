"""Export one variant as a Hugging Face checkpoint, prove it, and measure what it saves."""

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prunescope import progress
from prunescope.compression import export, export_proof, model_card
from prunescope.inputs import sources
from prunescope.model import loading, prompts, tokenization
from prunescope.storage import store
from prunescope.tracing import costs, savings


def export_model(
    source: loading.VariantSource,
    prompt_texts: Mapping[str, Mapping[str, str]],
    checkpoint_dir: str,
    form: str,
    made_by: Mapping[str, object],
) -> None:
    """Write the checkpoint to a scratch folder, compare it with the variant, and then rename it.

    Parameters
    ----------
    source : the variant.
    prompt_texts : section `prompts` of config, on which checkpoint and variant are compared.
    checkpoint_dir : the folder to write.
    form : one of `export.FORMS`.
    made_by : provenance, written to `prunescope.json` in the folder.
    """
    loaded = loading.load_variant(source)
    with sources.scratch(beside=checkpoint_dir) as scratch:
        folder = scratch / "checkpoint"
        written = export.write(folder, loaded.dense, loaded.edit, source.model_dir, form)
        with_code = export.needs_code(loaded.edit, form)
        dense = loaded.dense
        exported = export_proof.load(folder, with_code=with_code).to(dense.device)
        stock_dense = export_proof.load(
            Path(source.model_dir), with_code=False, dtype=dense.dtype
        ).to(dense.device)
        texts = [prompt["text"] for prompt in prompt_texts.values()]
        variant = loading.apply_edit(stock_dense, loaded.edit)
        models = export_proof.Models(exported, written, variant)
        proof = export_proof.prove(models, tokenization.load(folder), loaded.tokenizer, texts)
        progress.LOG.info("%s", proof)
        saved = savings.measure(
            {source.model_dir: stock_dense, folder: exported},
            costs.timed_prompt(prompts.prompt_token_ids(loaded.tokenizer, text) for text in texts),
        )
        description = {
            **made_by,
            "proof": dataclasses.asdict(proof),
            "savings": dataclasses.asdict(saved),
        }
        text = json.dumps(description, indent=2, sort_keys=True) + "\n"
        (folder / "prunescope.json").write_text(text, encoding="utf-8")
        model_card.write(
            folder, source.model_dir, loaded.edit, description, saved, with_code=with_code
        )
        shutil.rmtree(checkpoint_dir, ignore_errors=True)
        store.move(folder, Path(checkpoint_dir))


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    names = ("dtype", "form", "calibration", "seed")
    settings = {
        **snakemake.wildcards,
        **{name: snakemake.params[name] for name in names},
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
            form=snakemake.params.form,
            made_by=store.provenance("export_model", settings),
        )
