"""What a variant costs beside dense: parameters, bytes, key-value cache, speed."""

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
"""Length of the timed prompt: long enough that its products, not its overheads, are timed."""

DECODED_TOKENS = 8
"""Tokens written after it, each reading every weight once."""

RUNS = 4
"""Timed runs of each model, dense and variant in turn."""


def n_parameters(model: Any) -> int:
    """Numbers in the weights, tied ones counted once."""
    return sum(parameter.numel() for parameter in model.parameters())


def n_nonzero(model: Any) -> int:
    """Numbers in the weights that are not zero, tied ones counted once."""
    return sum(int(parameter.count_nonzero()) for parameter in model.parameters())


def n_bytes(model: Any) -> int:
    """Bytes of the weights at their dtype, tied ones counted once."""
    return sum(parameter.nbytes for parameter in model.parameters())


def n_stored_bytes(dense: Any, variant: Any, edit: Edit) -> int:
    """Bytes the variant needs standing alone: replaced tensors as packed, others as they are.

    What the edit drops counts nothing.
    """
    edited = Variant(variant, edit)
    total = 0.0
    for name, parameter in variant.named_parameters():
        in_dense = edited.name_in_dense(name)
        if in_dense in edit.tensors:
            total += stored_bytes(dense.get_parameter(in_dense), edit.tensors[in_dense])
        else:
            total += parameter.nbytes
    return round(total)


@torch.inference_mode()
def cache_bytes_per_token(model: Any, token_ids: Tensor) -> int:
    """Bytes of keys and values of one position, read off the cache of a real pass.

    Parameters
    ----------
    token_ids : (sequence,)
    """
    cache = model(token_ids.unsqueeze(0), use_cache=True, logits_to_keep=1).past_key_values
    places = [place for place in cache.layers if place.get_seq_length() > 0]
    return sum((p.keys.nbytes + p.values.nbytes) // p.keys.shape[-2] for p in places)


def best_speeds(models: Sequence[Any], token_ids: Tensor) -> list[tuple[float, float]]:
    """Prefill and decode speed of each model, tokens/s.

    The models take turns, and the shortest time of each counts: on a busy machine a mean would say
    more about what else runs there.
    """
    runs = [[seconds(model, token_ids, DECODED_TOKENS) for model in models] for _ in range(RUNS)]
    return [
        (
            len(token_ids) / min(prefill for prefill, _ in of_model),
            1 / min(step for _, steps in of_model for step in steps),
        )
        for of_model in zip(*runs, strict=True)
    ]


@torch.inference_mode()
def seconds(model: Any, token_ids: Tensor, n_decoded: int) -> tuple[float, list[float]]:
    """Seconds of reading a prompt, and of each of `n_decoded` tokens greedily on its cache.

    Parameters
    ----------
    token_ids : (sequence,), read in one pass, batch 1.
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
    """Seconds, once the device has done all it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
