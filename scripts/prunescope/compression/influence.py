"""Influence of each sublayer and block on the residual stream, by which layer dropping ranks."""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from prunescope import finite
from prunescope.model import anatomy, capture
from prunescope.tables.schemas import TABLES

_SCORED_PARTS = (*anatomy.SUBLAYERS, "block")
"""The parts of each block that get an influence, in the order of the columns of the sums."""


@torch.inference_mode()
def influences(model: Any, batches: Iterable[Tensor]) -> pa.Table:
    """Influences, 1 - mean over tokens of cos(input, output), as table `influence`.

    For a sublayer (He et al. 2026), input and output are the residual stream before and after it.
    For a block (the block influence of ShortGPT, Men et al. 2025), they are resid_pre and
    resid_post. All of them are measured on the dense model in a single pass without `lm_head`. Each
    deviation is computed as ½|û - v̂|² in float32, and deviations are summed in float64.

    In models that normalise the residual stream itself (BERT), the output of a sublayer is the sum
    of its input and its contribution before that norm, because the norm remains if the sublayer is
    dropped. A state of length 0 (a token whose embedding is zero) has no direction: the mean of
    that sublayer leaves its token out, and `n_tokens` counts the remaining ones.

    Parameters
    ----------
    model : the dense model.
    batches : token ids, (sequences, length) each; all tokens have the same weight.

    Raises
    ------
    finite.NotFinite
        if a hidden state is not finite; the message names block and sequence.
    """
    size = (len(anatomy.blocks_of(model)), len(_SCORED_PARTS))
    totals = torch.zeros(size, dtype=torch.float64, device=model.device)
    counts = torch.zeros_like(totals)
    sequences = 0
    units: list[Tensor] = []
    before_norm: list[Tensor] = []

    def visit(boundary: int, h: Tensor) -> None:
        """Compare a boundary with the previous ones; all but the first are outputs of sublayers."""
        place = _boundary_name(boundary)
        finite.checked(
            h, lambda: f"{place}, {_sequence_name(h, sequences)}: hidden states in {h.dtype}"
        )
        units.append(_unit_vectors(h))
        if boundary == 0:
            return
        sublayer = _sublayer_before(boundary)
        output = units[-1]
        if before_norm:
            sums = before_norm.pop()
            finite.checked(sums, lambda: f"{place}, {_sequence_name(sums, sequences)}: sums")
            output = _unit_vectors(sums)
        part = (sublayer.block, _SCORED_PARTS.index(sublayer.kind))
        _add_deviations(totals, counts, part, units[-2], output)
        if sublayer.kind == anatomy.SUBLAYERS[-1]:
            part = (sublayer.block, _SCORED_PARTS.index("block"))
            _add_deviations(totals, counts, part, units[-3], units[-1])
        del units[:-3]

    with capture.boundaries(model, visit), capture.sums(model, before_norm.append):
        for token_ids in batches:
            units.clear()
            model.base_model(input_ids=token_ids.to(model.device), use_cache=False)
            sequences += len(token_ids)
    means = finite.checked(
        totals / counts,
        "influences",
        "A sublayer has a state of length 0 at every token: calibrate on another corpus.",
    )
    return _as_table(means.tolist(), counts.long().tolist())


def _sublayer_before(boundary: int) -> anatomy.Sublayer:
    """The sublayer whose output is the residual stream at a boundary, which is not the first."""
    return anatomy.Sublayer.from_index(boundary - 1)


def _boundary_name(boundary: int) -> str:
    return "the embedding" if boundary == 0 else f"block {_sublayer_before(boundary).block}"


def _sequence_name(h: Tensor, first: int) -> str:
    """The first sequence with a value that is not finite, in words.

    Parameters
    ----------
    h : (sequences, length, d), states of one batch.
    first : number of sequences in earlier batches.
    """
    rows = [row for row, states in enumerate(h) if not finite.is_finite(states)]
    return f"calibration sequence {first + rows[0]}"


def _unit_vectors(h: Tensor) -> Tensor:
    """Unit vectors in float32 or wider, (…, d) -> (…, d); NaN for a vector of zeros.

    Each vector is divided by its largest entry first, because squares of bfloat16 numbers may lie
    outside the range of float32.
    """
    wide = h.to(torch.promote_types(h.dtype, torch.float32))
    wide = wide / wide.abs().amax(-1, keepdim=True)
    unit: Tensor = wide / torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    return unit


def _add_deviations(
    totals: Tensor, counts: Tensor, part: tuple[int, int], before: Tensor, after: Tensor
) -> None:
    """Add 1 - cos of all tokens whose two states have a direction.

    Parameters
    ----------
    totals, counts : (blocks, scored parts), sums of deviations and numbers of tokens.
    part : the element to add to.
    before, after : (…, d), unit vectors.
    """
    differences = (after - before).flatten(0, -2)
    deviations = torch.linalg.vector_norm(differences, dim=-1).double().square() / 2
    has_direction = ~deviations.isnan()  # the unit vector of a state of length 0 is NaN
    totals[part] += deviations.where(has_direction, 0).sum()
    counts[part] += has_direction.sum()


def _as_table(means: list[list[float]], counts: list[list[int]]) -> pa.Table:
    """Means and numbers of tokens, (blocks, scored parts) each, as table `influence`."""
    rows = [
        {"block": block, "sublayer": name, "influence": influence, "n_tokens": n_tokens}
        for block, (scores, tokens) in enumerate(zip(means, counts, strict=True))
        for name, influence, n_tokens in zip(_SCORED_PARTS, scores, tokens, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=TABLES["influence"].schema)
