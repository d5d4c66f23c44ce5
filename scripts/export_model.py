"""Write one variant as a plain Hugging Face checkpoint, and prove that it is the variant."""

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prunescope import progress
from prunescope.compression import export
from prunescope.inputs import sources
from prunescope.machine import runtime
from prunescope.model import edits, loading
from prunescope.storage import store


def export_model(
    model_dir: str,
    edit_file: str,
    prompt_texts: Mapping[str, Mapping[str, str]],
    checkpoint_dir: str,
    dtype: str,
    threads: int,
    made_by: Mapping[str, object],
    prompting: Mapping[str, Any] | None = None,
) -> None:
    """Write the checkpoint beside its place, compare it with the variant, and only then rename."""
    device = runtime.prepare(threads)
    dense = loading.load(model_dir, dtype, device)
    tokenizer = loading.load_tokenizer(model_dir, prompting)
    edit = edits.read(edit_file)
    with sources.scratch(beside=checkpoint_dir) as scratch:
        folder = scratch / "checkpoint"
        export.write(folder, dense, edit, model_dir)
        variant = loading.apply_edit(dense, edit)
        texts = [prompt["text"] for prompt in prompt_texts.values()]
        proof = export.prove(folder, variant, tokenizer, texts)
        progress.LOG.info("%s", proof)
        about = {**made_by, "proof": dataclasses.asdict(proof)}
        text = json.dumps(about, indent=2, sort_keys=True) + "\n"
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
            model_dir=snakemake.input.model,
            edit_file=snakemake.input.edit,
            prompt_texts=snakemake.params.prompts,
            checkpoint_dir=snakemake.output.checkpoint,
            dtype=snakemake.params.dtype,
            threads=snakemake.config["threads"],
            prompting=snakemake.params.prompting,
            made_by=store.provenance("export_model", settings),
        )
