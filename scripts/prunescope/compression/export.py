"""Write a variant as an ordinary Hugging Face checkpoint, and prove that the two are equal."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from prunescope import finite
from prunescope.model import anatomy, loading, prompts, tokenization
from prunescope.model.edits import Edit
from prunescope.model.variant import Variant
from prunescope.storage import store

TOLERANCE = {
    torch.float64: 1e-12,
    torch.float32: 1e-5,
    torch.float16: 5e-3,
    torch.bfloat16: 3e-2,
}
"""Largest allowed difference of logits, relative to the largest logit, by dtype.

Sums that are computed in another order may differ by this much.
"""

_REWRITTEN = ("*.safetensors", "*.safetensors.index.json", "config.json")
"""Files of the dense folder that the variant replaces; the others are copied."""


@dataclass(frozen=True)
class Proof:
    """Comparison of the checkpoint's logits with those of the variant.

    Attributes
    ----------
    largest_difference : largest difference of a logit, over all tokens of all prompts.
    largest_logit : largest absolute value of a logit of the variant.
    tolerance : largest allowed difference of a logit.
    n_tokens : number of tokens compared.
    """

    largest_difference: float
    largest_logit: float
    tolerance: float
    n_tokens: int


def stock_model(dense: Any, edit: Edit) -> Any:
    """The variant as a model of the stock architecture, which transformers can load.

    Dropped blocks are left out. A dropped sublayer is present with an output projection of zeros; a
    norm after it maps zero to zero. Tensors that the edit does not change are shared with `dense`.
    """
    parts = anatomy.anatomy_of(dense).sublayers
    without_blocks = Edit({"block": edit.dropped.get("block", ())}, edit.tensors)
    model = loading.apply_edit(dense, without_blocks)
    for index, block in Variant(model, without_blocks).blocks().items():
        for sublayer in anatomy.SUBLAYERS:
            if edit.is_dropped(index, sublayer):
                _set_to_zero(block.get_submodule(parts[sublayer].out))
    model.config.intermediate_size = _intermediate_size(model)
    return model


def _set_to_zero(linear: nn.Module) -> None:
    for name, parameter in list(linear.named_parameters()):
        setattr(linear, name, nn.Parameter(torch.zeros_like(parameter), requires_grad=False))


def _intermediate_size(model: Any) -> int:
    """Number of neurons of each MLP.

    Raises ValueError if blocks differ, because the config of a checkpoint has a single number.
    """
    name = anatomy.anatomy_of(model).mlp_out
    sizes = [
        block.get_submodule(name).get_parameter("weight").shape[1]
        for block in anatomy.blocks_of(model)
    ]
    if len(set(sizes)) > 1:
        raise ValueError(
            f"MLPs of the variant have {min(sizes)} to {max(sizes)} neurons, but a checkpoint has "
            "one intermediate_size for all blocks. Export a variant that prunes them alike."
        )
    return sizes[0] if sizes else model.config.intermediate_size


def write(folder: Path, dense: Any, edit: Edit, dense_folder: str | Path) -> None:
    """Write the checkpoint of a variant.

    Parameters
    ----------
    folder : the folder that is written.
    dense, edit : dense model and edit of the variant.
    dense_folder : checkpoint of the dense model, from which tokenizer files are copied.
    """
    stock_model(dense, edit).save_pretrained(folder)
    for file in folder.glob("*.safetensors"):
        store.set_usual_mode(file)
    for file in Path(dense_folder).iterdir():
        if file.is_file() and not any(file.match(pattern) for pattern in _REWRITTEN):
            shutil.copyfile(file, folder / file.name)


@torch.inference_mode()
def prove(
    folder: Path, variant: Any, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]
) -> Proof:
    """Load the checkpoint with transformers alone, and compare it with the variant.

    Parameters
    ----------
    folder : the checkpoint.
    variant : the variant, a result of `loading.apply_edit`.
    tokenizer : tokenizer of the dense model.
    texts : prompts, before the chat template.

    Raises
    ------
    ValueError
        if dtype, tokens or logits of the checkpoint differ from those of the variant.
    """
    loaded: Any = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=False)
    exported = loaded.to(variant.device).eval()
    exported_tokenizer = tokenization.load(folder)
    if exported.dtype != variant.dtype:
        raise ValueError(
            f"the variant is {variant.dtype}, its checkpoint loads as {exported.dtype}."
        )
    largest_difference = largest_logit = 0.0
    n_tokens = 0
    for text in texts:
        ids = prompts.prompt_token_ids(tokenizer, text)
        if prompts.prompt_token_ids(exported_tokenizer, text) != ids:
            raise ValueError(
                f"the exported tokenizer and that of the dense model give {text!r} other tokens."
            )
        z, z_exported = (
            model(torch.tensor([ids], device=variant.device)).logits.to(torch.float64)
            for model in (variant, exported)
        )
        for name, logits in (("variant", z), ("checkpoint", z_exported)):
            finite.checked(logits, f"prompt {text[:40]!r}: logits of the {name}")
        largest_difference = max(largest_difference, (z_exported - z).abs().max().item())
        largest_logit = max(largest_logit, z.abs().max().item())
        n_tokens += len(ids)
    proof = Proof(
        largest_difference, largest_logit, TOLERANCE[variant.dtype] * largest_logit, n_tokens
    )
    if not largest_difference <= proof.tolerance:
        raise ValueError(
            f"logits of the checkpoint differ from the variant's by {largest_difference:.3g}, more "
            f"than {proof.tolerance:.3g} for logits up to {largest_logit:.3g} in {variant.dtype}. "
            "The checkpoint is not the variant: nothing was written."
        )
    return proof
