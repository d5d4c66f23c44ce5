"""How much each sublayer and block turns the residual stream: what layer dropping ranks by."""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from prunescope import finite
from prunescope.model import anatomy, capture
from prunescope.tables.schemas import TABLES

_SCORED = (*anatomy.SUBLAYERS, "block")
"""What is scored of each block, in the order of columns."""


@torch.inference_mode()
def influences(model: Any, batches: Iterable[Tensor]) -> pa.Table:
    """Rows of table `influence`: 1 - mean over tokens of cos(input, output), in one pass.

    Sublayers (He et al. 2026): the residual stream before and after the sublayer. Blocks
    (ShortGPT's BI, Men et al. 2025): resid_pre and resid_post. All are scored on the dense model
    in the same pass, without `lm_head`. Deviations are ½|û - v̂|² in float32, summed in float64.
    Where the stream itself is normed (BERT), a sublayer's output is its input + what it adds,
    before that norm: the norm stays where the sublayer is dropped, so it is not what is lost.
    A state of length 0 (a token whose embedding is zero) has no direction: its token is left out of
    the mean of that sublayer, and `n_tokens` counts the others.

    Parameters
    ----------
    batches : token ids, (sequences, length) each; every token with a direction counts alike.

    Raises
    ------
    finite.NotFinite
        if a hidden state is not finite, by block and sequence.
    """
    size = (len(anatomy.blocks_of(model)), len(_SCORED))
    totals = torch.zeros(size, dtype=torch.float64, device=model.device)
    counts = torch.zeros_like(totals)
    sequences = 0
    units: list[Tensor] = []
    before_norm: list[Tensor] = []

    def visit(boundary: int, h: Tensor) -> None:
        """Compare with the boundary one and two before; each but the first ends a sublayer."""
        finite.checked(
            h, lambda: f"{_place(boundary)}, {_where(h, sequences)}: hidden states in {h.dtype}"
        )
        units.append(_unit(h))
        if boundary == 0:
            return
        writer = _writer(boundary)
        output = units[-1]
        if before_norm:
            added = before_norm.pop()
            finite.checked(added, lambda: f"{_place(boundary)}, {_where(added, sequences)}: sums")
            output = _unit(added)
        _add(totals, counts, (writer.block, _SCORED.index(writer.kind)), units[-2], output)
        if writer.kind == anatomy.SUBLAYERS[-1]:
            _add(totals, counts, (writer.block, _SCORED.index("block")), units[-3], units[-1])
        del units[:-3]

    with capture.boundaries(model, visit), capture.sums(model, before_norm.append):
        for token_ids in batches:
            units.clear()
            model.base_model(input_ids=token_ids.to(model.device), use_cache=False)
            sequences += len(token_ids)
    means = finite.checked(
        totals / counts,
        "influences",
        "Every token of some sublayer has a state of length 0: calibrate on another corpus.",
    )
    return _rows(means.tolist(), counts.long().tolist())


def _writer(boundary: int) -> anatomy.Sublayer:
    """The sublayer whose output is the residual stream at a boundary, any but the first."""
    return anatomy.Sublayer.from_index(boundary - 1)


def _place(boundary: int) -> str:
    return "the embedding" if boundary == 0 else f"block {_writer(boundary).block}"


def _where(h: Tensor, first: int) -> str:
    """The first calibration sequence of a batch, (sequences, length, d), that is not finite."""
    found = [row for row, each in enumerate(h) if not finite.is_finite(each)]
    return f"calibration sequence {first + found[0]}"


def _unit(h: Tensor) -> Tensor:
    """Unit vectors in float32 or wider, (…, d) -> (…, d); NaN for a vector of zeros.

    Divided by its largest entry first: squares of bfloat16 may leave float32.
    """
    wide = h.to(torch.promote_types(h.dtype, torch.float32))
    wide = wide / wide.abs().amax(-1, keepdim=True)
    unit: Tensor = wide / torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    return unit


def _add(
    totals: Tensor, counts: Tensor, place: tuple[int, int], before: Tensor, after: Tensor
) -> None:
    """Add 1 - cos of every token that has two directions, from unit vectors, (…, d) each."""
    turn = (after - before).flatten(0, -2)
    half = torch.linalg.vector_norm(turn, dim=-1).double().square() / 2
    directed = ~half.isnan()  # a state of length 0 has a unit vector of NaN
    totals[place] += half.where(directed, 0).sum()
    counts[place] += directed.sum()


def _rows(means: list[list[float]], counts: list[list[int]]) -> pa.Table:
    rows = [
        {"block": block, "sublayer": name, "influence": influence, "n_tokens": n_tokens}
        for block, (scores, tokens) in enumerate(zip(means, counts, strict=True))
        for name, influence, n_tokens in zip(_SCORED, scores, tokens, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=TABLES["influence"].schema)
