"""Prove that a checkpoint is the variant: equal tensors, and logits apart by rounding at most."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from prunescope import finite
from prunescope.model import prompts

_SHORT_PASS = 16
"""Tokens of the second pass of a prompt that measures the noise floor."""


@dataclass(frozen=True)
class Proof:
    """Comparison of a checkpoint with the variant.

    Attributes
    ----------
    n_equal_tensors : number of tensors, all of them equal to the variant's bit by bit.
    n_tokens : number of tokens whose logits were compared.
    largest_logit : largest absolute value of a logit of the variant.
    largest_difference : largest difference between logits of the checkpoint and the variant.
    noise_floor : largest difference between logits that the variant gives to a prompt in one pass
        and in two, the second with the cache of the first. Only rounding differs.
    tolerance : the largest difference that is allowed, twice the noise floor, because either model
        may be off by it, or one rounding of the largest logit, if that is more.
    """

    n_equal_tensors: int
    n_tokens: int
    largest_logit: float
    largest_difference: float
    noise_floor: float
    tolerance: float


def load(folder: Path, *, with_code: bool, dtype: torch.dtype | None = None) -> Any:
    """Load a checkpoint as a user would, with transformers alone, onto the CPU.

    Parameters
    ----------
    folder : the checkpoint.
    with_code : whether the code in the folder is run; it must be our own.
    dtype : dtype of the weights; None for that of the checkpoint. A model that is cast after it was
        loaded would have its rotary frequencies rounded, too.
    """
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        folder, trust_remote_code=with_code, dtype=dtype or "auto"
    )
    return loaded.eval()


@dataclass(frozen=True)
class Models:
    """The models that a proof compares.

    Attributes
    ----------
    exported : the checkpoint as transformers loads it.
    written : the model whose tensors were written, a result of `export.write`.
    variant : the variant, made by `loading.apply_edit` of the dense model as transformers loads it.
        The products of `loading.load` order sums differently on a CPU.
    """

    exported: Any
    written: Any
    variant: Any


@torch.inference_mode()
def prove(
    models: Models,
    exported_tokenizer: PreTrainedTokenizerBase,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
) -> Proof:
    """Compare a loaded checkpoint with the model that was written and with the variant.

    Parameters
    ----------
    models : the models.
    exported_tokenizer, tokenizer : tokenizers of the checkpoint and of the dense model.
    texts : prompts, before the chat template.

    Raises
    ------
    ValueError
        if tensors, tokens or logits of the checkpoint differ from those of the variant.
    """
    n_equal_tensors = _check_tensors(models.exported, models.written)
    largest_difference = largest_logit = noise_floor = 0.0
    n_tokens = 0
    for text in texts:
        ids = prompts.prompt_token_ids(tokenizer, text)
        if prompts.prompt_token_ids(exported_tokenizer, text) != ids:
            raise ValueError(
                f"the exported tokenizer and that of the dense model give {text!r} other tokens."
            )
        z = _in_one_pass(models.variant, ids)
        difference = _largest(z - _in_one_pass(models.exported, ids))
        noise = _largest(z - _in_two_passes(models.variant, ids))
        largest_difference = max(largest_difference, difference)
        noise_floor = max(noise_floor, noise)
        largest_logit = max(largest_logit, _largest(z))
        n_tokens += len(ids)
    dtype = models.variant.dtype
    tolerance = max(2 * noise_floor, torch.finfo(dtype).eps * largest_logit)
    if not largest_difference <= tolerance:
        raise ValueError(
            f"logits of the checkpoint differ from the variant's by {largest_difference:.3g}, more "
            f"than {tolerance:.3g}, which rounding explains in {dtype} (logits up to "
            f"{largest_logit:.3g}). The checkpoint is not the variant: nothing was written."
        )
    return Proof(
        n_equal_tensors, n_tokens, largest_logit, largest_difference, noise_floor, tolerance
    )


def _largest(values: Tensor) -> float:
    """Largest absolute value. Raises NotFinite if a value is NaN or infinite."""
    return finite.checked(values, "export: logits").abs().max().item()


def _check_tensors(exported: Any, written: Any) -> int:
    """Number of parameters; raises ValueError unless all have the same names and the same bits."""
    loaded, expected = (dict(model.named_parameters()) for model in (exported, written))
    if loaded.keys() != expected.keys():
        names = ", ".join(sorted(loaded.keys() ^ expected.keys())[:3])
        raise ValueError(f"the checkpoint and the variant do not have the same tensors: {names}.")
    for name, tensor in expected.items():
        if loaded[name].dtype != tensor.dtype:
            raise ValueError(
                f"{name} of the variant is {tensor.dtype}, but loads as {loaded[name].dtype}."
            )
        if not torch.equal(loaded[name].to(tensor.device), tensor):
            raise ValueError(f"{name} of the checkpoint differs from the variant's.")
    return len(expected)


def _in_one_pass(model: Any, ids: Sequence[int]) -> Tensor:
    logits: Tensor = model(torch.tensor([ids], device=model.device)).logits
    return logits.double()


def _in_two_passes(model: Any, ids: Sequence[int]) -> Tensor:
    """Logits if the end of a prompt is read in a pass of its own, with the cache of the first."""
    tokens = torch.tensor([ids], device=model.device)
    split = max(1, len(ids) - _SHORT_PASS)
    first = model(tokens[:, :split], use_cache=True)
    if split == len(ids):
        return first.logits.double()  # type: ignore[no-any-return]
    second = model(tokens[:, split:], past_key_values=first.past_key_values, use_cache=True)
    return torch.cat([first.logits, second.logits], 1).double()
