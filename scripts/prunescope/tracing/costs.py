"""Costs of a model: parameters, bytes, key-value cache and speed."""

import itertools
import statistics
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from scipy import stats
from torch import Tensor

from prunescope import finite
from prunescope.model.edits import Edit
from prunescope.model.replacements import stored_bytes
from prunescope.model.variant import Variant

PREFILL_TOKENS = 128
"""Tokens of the timed prompt: enough for matrix products to dominate the overhead."""

DECODED_TOKENS = 8
"""Tokens generated after the prompt; each one reads every weight once."""

RUNS = 9
"""Timed runs of each model, in turn. With nine, the 95 % interval of the median leaves out the
fastest and the slowest run."""


class Speeds(NamedTuple):
    """Speed of two models in tokens per second, and how many times as fast the second is.

    Attributes
    ----------
    dense, variant : the fastest run of each.
    speedup, low, high : the median over runs of the ratio of both models' times in the same run,
        and its 95 % interval (exact, by order statistics).
    """

    dense: float
    variant: float
    speedup: float
    low: float
    high: float

    def columns(self, phase: str) -> dict[str, float]:
        """Columns of `variant_cost` about a phase, prefill or decode."""
        return {
            f"{phase}_tokens_per_second_dense": self.dense,
            f"{phase}_tokens_per_second": self.variant,
            f"{phase}_speedup": self.speedup,
            f"{phase}_speedup_low": self.low,
            f"{phase}_speedup_high": self.high,
        }


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


def timed_prompt(texts: Iterable[Sequence[int]]) -> Tensor:
    """The first PREFILL_TOKENS tokens of all texts, repeated if they are too few; (sequence,)."""
    tokens = itertools.cycle(itertools.chain.from_iterable(texts))
    return torch.tensor(list(itertools.islice(tokens, PREFILL_TOKENS)))


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


def speeds(dense: Any, variant: Any, token_ids: Tensor) -> tuple[Speeds, Speeds]:
    """Speeds of prefill and of decoding.

    The models run in turn, and every second time in the other order, so that what else the machine
    does meets both. The fastest run of each tells its speed, and ratios within runs tell which is
    faster.

    Parameters
    ----------
    dense, variant : the two models.
    token_ids : (sequence,), the timed prompt.
    """
    runs = []
    for run in range(RUNS):
        models = (dense, variant) if run % 2 == 0 else (variant, dense)
        timed = [seconds(model, token_ids, DECODED_TOKENS) for model in models]
        runs.append(timed if run % 2 == 0 else timed[::-1])
    prefills = [[prefill for prefill, _ in timed] for timed in runs]
    steps = [[statistics.median(each) for _, each in timed] for timed in runs]
    return _speeds(prefills, len(token_ids)), _speeds(steps, 1)


def _speeds(runs: Sequence[Sequence[float]], n_tokens: int) -> Speeds:
    """Speeds from the seconds of dense and of the variant in each run."""
    ratios = [of_dense / of_variant for of_dense, of_variant in runs]
    ends = stats.quantile_test(ratios, p=0.5).confidence_interval(0.95)
    dense, variant = (n_tokens / min(times) for times in zip(*runs, strict=True))
    return Speeds(dense, variant, statistics.median(ratios), float(ends.low), float(ends.high))


def has_same_operations(dense: Any, variant: Any) -> bool:
    """Whether a variant multiplies matrices of the same shapes as dense, and so takes as long.

    Zeros and rounded numbers inside a matrix save no time in a dense product.
    """
    shapes = [
        [(name, tuple(each.shape)) for name, each in model.named_parameters()]
        for model in (dense, variant)
    ]
    return shapes[0] == shapes[1]


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
