"""Costs of a model: parameters, bytes, key-value cache and speed."""

import itertools
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from prunescope import finite
from prunescope.model.edits import Edit
from prunescope.model.replacements import stored_bytes
from prunescope.model.variant import Variant

PREFILL_TOKENS = 128
"""Tokens of the timed prompt: enough for matrix products to dominate the overhead."""

DECODED_TOKENS = 8
"""Tokens generated after the prompt; each one reads every weight once."""

RUNS = 4
"""Timed runs of each model; the models alternate."""


def n_parameters(model: Any) -> int:
    """Number of weights; tied weights count once."""
    return sum(parameter.numel() for parameter in model.parameters())


def n_nonzero(model: Any) -> int:
    """Number of weights that are not zero; tied weights count once."""
    return sum(int(parameter.count_nonzero()) for parameter in model.parameters())


def n_bytes(model: Any) -> int:
    """Bytes of the weights in their dtype; tied weights count once."""
    return sum(parameter.nbytes for parameter in model.parameters())


def n_stored_bytes(dense: Any, variant: Any, edit: Edit) -> int:
    """Bytes that store the variant on its own, without the dense model.

    Replaced tensors count as they are packed, all others in full, and dropped ones not at all.

    Parameters
    ----------
    dense, variant : the two models.
    edit : the edit of the variant.
    """
    variant_of_edit = Variant(variant, edit)
    total = 0.0
    for name, parameter in variant.named_parameters():
        name_in_dense = variant_of_edit.name_in_dense(name)
        if name_in_dense in edit.tensors:
            total += stored_bytes(dense.get_parameter(name_in_dense), edit.tensors[name_in_dense])
        else:
            total += parameter.nbytes
    return round(total)


@torch.inference_mode()
def cache_bytes_per_token(model: Any, token_ids: Tensor) -> int:
    """Bytes of the keys and values of one position, measured on the cache of a forward pass.

    Parameters
    ----------
    token_ids : (sequence,)
    """
    cache = model(token_ids.unsqueeze(0), use_cache=True, logits_to_keep=1).past_key_values
    layers = [layer for layer in cache.layers if layer.get_seq_length() > 0]
    return sum(
        (layer.keys.nbytes + layer.values.nbytes) // layer.keys.shape[-2] for layer in layers
    )


def best_speeds(models: Sequence[Any], token_ids: Tensor) -> list[tuple[float, float]]:
    """Prefill and decoding speed of each model, in tokens per second.

    The models alternate, and the shortest time of each counts: on a busy machine, a mean would
    depend on the other programs that run there.
    """
    runs = [[seconds(model, token_ids, DECODED_TOKENS) for model in models] for _ in range(RUNS)]
    return [
        (
            len(token_ids) / min(prefill for prefill, _ in runs_of_model),
            1 / min(step for _, steps in runs_of_model for step in steps),
        )
        for runs_of_model in zip(*runs, strict=True)
    ]


@torch.inference_mode()
def seconds(model: Any, token_ids: Tensor, n_decoded: int) -> tuple[float, list[float]]:
    """Seconds for the prefill, and for each of `n_decoded` greedy decoding steps after it.

    Parameters
    ----------
    model : the model to time.
    n_decoded : number of decoding steps.
    token_ids : (sequence,), the prompt, read in one pass with batch size 1.
    """
    times = [_now(model.device)]
    out = model(token_ids.unsqueeze(0), use_cache=True, logits_to_keep=1)
    times.append(_now(model.device))
    for _ in range(n_decoded):
        logits = finite.checked(out.logits[:, -1:], "timed passes: logits")
        token = logits.argmax(-1)
        out = model(token, past_key_values=out.past_key_values, use_cache=True)
        times.append(_now(model.device))
    prefill, *steps = (after - before for before, after in itertools.pairwise(times))
    return prefill, steps


def _now(device: torch.device) -> float:
    """The time in seconds, after the device has finished all queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
