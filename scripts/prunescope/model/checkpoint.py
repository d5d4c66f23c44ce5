"""What of a checkpoint a loaded model uses: every tensor of it, and nothing that is not in it.

transformers fills what a checkpoint lacks with random numbers and passes over what the model has no
place for, both with a warning at most. A model with random parameters answers like any other, and
differently in every job. Here both are errors.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prunescope.inputs import model_folder
from prunescope.progress import JobError

FLOATING = ("F64", "F32", "BF16", "F16")
"""Number types of plain weights, as safetensors names them. Others are packed or scaled."""

_DERIVED = re.compile(
    r"(^|\.)(position_ids|token_type_ids|inv_freq|(attn|attention|self_attn)\.(masked_)?bias)$"
)
"""Buffers that older releases of transformers stored although the configuration decides them."""

_NAMED = 3
"""Tensors that a message names, of however many."""


@dataclass(frozen=True)
class Account:
    """Tensors of a checkpoint beside the parameters of the model made from it.

    Attributes
    ----------
    random : parameters the checkpoint does not hold, which therefore hold random numbers.
    unused : tensors the model has no place for. mismatched : tensors of another shape.
    other_files : weights beside those that are read. packed : tensors that hold no plain numbers.
    """

    random: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)
    other_files: list[str] = field(default_factory=list)
    packed: list[str] = field(default_factory=list)

    def faults(self) -> list[str]:
        """Every fault in a sentence: what is true, and what to do."""
        said = {
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
        found: dict[str, list[str]] = {name: getattr(self, name) for name in said}
        return [text.format(_some(found[name])) for name, text in said.items() if found[name]]


def check(account: Account, model_dir: str | Path) -> None:
    """Raise JobError unless the model and its checkpoint hold the same tensors."""
    faults = account.faults()
    if faults:
        raise JobError(f"model {model_dir}: {' Also, '.join(faults)}")


def account_of(
    model: Any, info: Mapping[str, Any], model_dir: str | Path, kind: str = "causal"
) -> Account:
    """The account of a model just loaded.

    Parameters
    ----------
    model : as `from_pretrained` returned it, tied parameters tied.
    info : what it returned beside the model when asked for `output_loading_info`.
    kind : `encoder` leaves the head out that a causal or masked language model ends in.
    """
    there = {file.name: file for file in Path(model_dir).iterdir() if file.is_file()}
    read = model_folder.weights_read(there)
    header = {
        name: str(entry["dtype"])
        for file in read
        for name, entry in model_folder.header(there[file]).items()
    }
    patterns = getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ()
    passed_over = {name for name in header if any(re.search(p, name) for p in patterns)}
    unused = {n for n in {*info["unexpected_keys"], *passed_over} if not _DERIVED.search(n)}
    head = {name for name in unused if kind == "encoder" and _is_head(model, name, header)}
    pooler = {n for n in info["missing_keys"] if kind == "encoder" and n.startswith("pooler.")}
    return Account(
        random=sorted({*info["missing_keys"]} - pooler),
        unused=sorted(unused - head),
        mismatched=sorted(str(key[0]) for key in info["mismatched_keys"]),
        other_files=sorted({n for n in there if n.endswith(".safetensors")} - set(read)),
        packed=sorted(n for n, d in header.items() if d not in FLOATING and not _DERIVED.search(n)),
    )


def _is_head(model: Any, name: str, header: Mapping[str, str]) -> bool:
    """Whether a tensor lies outside the part of the model that makes hidden states."""
    prefix = f"{model.base_model_prefix}."
    within = any(other.startswith(prefix) for other in header)
    return not name.startswith(prefix) if within else name.startswith(("lm_head.", "cls."))


def _some(names: list[str]) -> str:
    """The first few of the names, and how many there are."""
    shown = ", ".join(names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{len(names)} tensors ({shown}, …)"
