"""How much each sublayer and block turns the residual stream: what layer dropping ranks by."""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from prunescope import anatomy, capture
from prunescope.schemas import TABLES


@torch.inference_mode()
def influences(model: Any, batches: Iterable[Tensor]) -> pa.Table:
    """Rows of table `influence`: 1 - mean over tokens of cos(input, output), in one pass.

    Sublayers (He et al. 2026): the residual stream before and after the sublayer. Blocks
    (ShortGPT's BI, Men et al. 2025): resid_pre and resid_post. All are scored on the dense model
    in the same pass, without `lm_head`. Deviations are ½|û - v̂|² in float32, summed in float64.
    Where the stream itself is normed (BERT), a sublayer's output is its input + what it adds,
    before that norm: the norm stays where the sublayer is dropped, so it is not what is lost.

    Parameters
    ----------
    batches : token ids, (sequences, length) each; every token counts alike.
    """
    totals = torch.zeros(len(anatomy.blocks_of(model)), 3, dtype=torch.float64, device=model.device)
    units: list[Tensor] = []
    before_norm: list[Tensor] = []

    def visit(boundary: int, h: Tensor) -> None:
        """Compare with the boundary one and two before; sublayers end at every one."""
        units.append(_unit(h))
        block, ends_block = (boundary - 1) // 2, boundary % 2 == 0
        if boundary > 0:
            output = _unit(before_norm.pop()) if before_norm else units[-1]
            totals[block, (boundary - 1) % 2] += _deviation(units[-2], output)
        if boundary > 0 and ends_block:
            totals[block, 2] += _deviation(units[-3], units[-1])
        del units[:-3]

    tokens = 0
    with capture.boundaries(model, visit), capture.sums(model, before_norm.append):
        for token_ids in batches:
            units.clear()
            model.base_model(input_ids=token_ids.to(model.device), use_cache=False)
            tokens += token_ids.numel()
    return _rows((totals / tokens).tolist(), tokens)


def _unit(h: Tensor) -> Tensor:
    """Unit vectors in float32 or wider, (…, d) -> (…, d)."""
    wide = h.to(torch.promote_types(h.dtype, torch.float32))
    unit: Tensor = wide / torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    return unit


def _deviation(before: Tensor, after: Tensor) -> Tensor:
    """Sum over tokens of 1 - cos, from unit vectors, (…, d) -> ()."""
    turn = (after - before).flatten(0, -2)
    half: Tensor = torch.linalg.vector_norm(turn, dim=-1).double().square().sum() / 2
    return half


def _rows(means: list[list[float]], tokens: int) -> pa.Table:
    rows = [
        {"block": block, "sublayer": name, "influence": influence, "n_tokens": tokens}
        for block, scores in enumerate(means)
        for name, influence in zip((*anatomy.SUBLAYERS, "block"), scores, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=TABLES["influence"].schema)
