"""Check that a loaded model has exactly the tensors of its checkpoint.

transformers fills parameters that a checkpoint lacks with random numbers, and ignores tensors that
the model does not use, with a warning at most. A model with random parameters runs without an
error, but answers differently in every job. Here, both cases are errors.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prunescope.inputs import model_folder
from prunescope.progress import JobError

FLOATING = ("F64", "F32", "BF16", "F16")
"""Dtypes of plain weights in safetensors. Weights of other dtypes are packed or scaled."""

_DERIVED = re.compile(
    r"(^|\.)(position_ids|token_type_ids|inv_freq|(attn|attention|self_attn)\.(masked_)?bias)$"
)
"""Buffers that older releases of transformers stored although they follow from the config."""

_NAMED = 3
"""Largest number of tensors that a message names."""


@dataclass(frozen=True)
class Account:
    """Differences between the tensors of a checkpoint and the parameters of its model.

    Attributes
    ----------
    random : parameters missing from the checkpoint, which are therefore random.
    unused : tensors that the model does not use.
    mismatched : tensors whose shape differs from the model's.
    other_files : weight files that are not read.
    packed : tensors that hold no plain numbers.
    """

    random: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)
    other_files: list[str] = field(default_factory=list)
    packed: list[str] = field(default_factory=list)

    def faults(self) -> list[str]:
        """A sentence per kind of fault: what is wrong, and what to do."""
        sentences = {
            "random": "the checkpoint lacks {}, which would be filled with random numbers. Fetch "
            "the complete checkpoint, or set `kind` to what it is (causal or encoder).",
            "unused": "nothing in the model reads {} of the checkpoint. It was saved from another "
            "kind of model, for instance a classifier or one with an adapter: choose the "
            "checkpoint of the plain model.",
            "mismatched": "{} of the checkpoint have another shape than config.json says. Use the "
            "config.json that belongs to these weights.",
            "other_files": "{} lie beside the weights that are read. Remove what does not belong "
            "to the model, so that there is one set of weights.",
            "packed": "{} hold quantized numbers. Choose the checkpoint the quantized one was "
            "made from: prunescope compresses plain weights.",
        }
        names_of_fault: dict[str, list[str]] = {name: getattr(self, name) for name in sentences}
        return [
            sentence.format(_some(names_of_fault[name]))
            for name, sentence in sentences.items()
            if names_of_fault[name]
        ]


def check(account: Account, model_dir: str | Path) -> None:
    """Raise JobError unless the model and its checkpoint have the same tensors."""
    faults = account.faults()
    if faults:
        raise JobError(f"model {model_dir}: {' Also, '.join(faults)}")


def account_of(
    model: Any, info: Mapping[str, Any], model_dir: str | Path, kind: str = "causal"
) -> Account:
    """Compare a model that has just been loaded with its checkpoint.

    Parameters
    ----------
    model : as returned by `from_pretrained`, with tied parameters.
    info : the second return value of `from_pretrained(output_loading_info=True)`.
    model_dir : folder of the checkpoint.
    kind : for `encoder`, the head of a causal or masked language model may be unused.
    """
    files = {file.name: file for file in Path(model_dir).iterdir() if file.is_file()}
    weight_files = model_folder.weights_read(files)
    header = {
        name: str(entry["dtype"])
        for file in weight_files
        for name, entry in model_folder.header(files[file]).items()
    }
    patterns = getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ()
    held = {name for name, _ in model.named_parameters()}
    read = held | {name.removeprefix(f"{model.base_model_prefix}.") for name in held}
    ignored = {n for n in header if n not in read and any(re.search(p, n) for p in patterns)}
    unused = {n for n in {*info["unexpected_keys"], *ignored} if not _DERIVED.search(n)}
    head = {name for name in unused if kind == "encoder" and _is_head(model, name, header)}
    pooler = {n for n in info["missing_keys"] if kind == "encoder" and n.startswith("pooler.")}
    return Account(
        random=sorted({*info["missing_keys"]} - pooler),
        unused=sorted(unused - head),
        mismatched=sorted(str(key[0]) for key in info["mismatched_keys"]),
        other_files=sorted({n for n in files if n.endswith(".safetensors")} - set(weight_files)),
        packed=sorted(n for n, d in header.items() if d not in FLOATING and not _DERIVED.search(n)),
    )


def _is_head(model: Any, name: str, header: Mapping[str, str]) -> bool:
    """Whether a tensor lies outside the part of the model that computes hidden states."""
    prefix = f"{model.base_model_prefix}."
    within = any(other.startswith(prefix) for other in header)
    return not name.startswith(prefix) if within else name.startswith(("lm_head.", "cls."))


def _some(names: list[str]) -> str:
    """All names, or the first few with the total number."""
    first_names = ", ".join(names[:_NAMED])
    return first_names if len(names) <= _NAMED else f"{len(names)} tensors ({first_names}, …)"
