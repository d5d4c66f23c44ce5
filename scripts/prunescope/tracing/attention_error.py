"""Split the error of attention outputs by cause (App. E).

An error comes from changed values, changed attention weights or both, at keys of the prompt or of
the generated text. Let o = Σ α v, summed over the keys, be the attention output before o_proj. From
dense (α, v) to variant (α + Δα, v + Δv) it changes by Δo = Σ α Δv + Σ Δα v + Σ Δα Δv: the value
path, the weight path, and the interaction, which Eq. 64 leaves to its remainder. The split is
exact: the three parts sum to Δo. α is computed again in float64 from the q and k of a forward pass,
so the split itself runs no model.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.func import functional_call

from prunescope import finite
from prunescope.measures import comparisons
from prunescope.model import anatomy, capture
from prunescope.model.edits import Edit
from prunescope.model.replacements import Replacement, replaced_in
from prunescope.model.variant import Variant
from prunescope.tables.schemas import TABLES
from prunescope.tracing import histories
from prunescope.tracing.histories import Attended, Scoring

PATHS = ("value", "weight", "interaction")
"""Which factor changed: v (value), α (weight), or both (interaction)."""

KEYS = ("prompt", "generated")
"""Position of the key (Eq. 69): up to the last prompt token, or after it."""

WEIGHTS_AT_ONCE = 2**22
"""Attention weights (heads x rows x keys) in memory at once: 32 MB in float64."""


class Split(NamedTuple):
    """Output and error of one attention sublayer, all float64.

    output : dense o, (kv_heads, rows, queries of a group x d_head).
    parts : (paths, keys, kv_heads, rows, queries of a group x d_head), summing to Δo over the
        first two, in the order of `PATHS` and `KEYS`.
    """

    output: Tensor
    parts: Tensor


class _AttentionReached(Exception):
    """Stops the forward pass of a block once q, k and v of its attention are known."""


def dropped_attention(edit: Edit, n_blocks: int) -> list[int]:
    """Blocks whose attention is dropped, ascending; they have no weights and values to split."""
    return [block for block in range(n_blocks) if edit.is_dropped(block, "attn")]


@torch.inference_mode()
def edited_attention(model: Any, token_ids: Tensor, edit: Edit) -> dict[int, Attended]:
    """q, k and v of each edited attention sublayer if no other is edited.

    This is the history `edited_sublayer`: the input is the dense residual stream, and q, k and v of
    all positions come from the edited weights.

    Parameters
    ----------
    model : the dense model.
    token_ids : (positions,).
    edit : the edit that makes the variant.

    Returns
    -------
    q, k and v by block, for the blocks in which the edit replaces a tensor of the attention
    sublayer or of its norms. Blocks whose attention is dropped are left out.
    """
    body, blocks = anatomy.anatomy_of(model), anatomy.blocks_of(model)
    edited = _attention_tensors(body, edit, len(blocks))
    if not edited:
        return {}
    calls: dict[int, capture.Call] = {}
    with capture.boundaries(model, lambda boundary, h: None, calls):
        histories.run(model, token_ids)
    attended: dict[int, Attended] = {}

    def read(block: int, own: Attended, _: Scoring) -> Tensor:
        attended[block] = own
        raise _AttentionReached

    with histories.reading(Variant(model), read):
        for index, packed in edited.items():
            block = blocks[index]
            args, kwargs = calls[index]
            try:
                functional_call(block, replaced_in(block, packed), args, kwargs)
            except _AttentionReached:
                continue
    return attended


def _attention_tensors(
    body: anatomy.Anatomy, edit: Edit, n_blocks: int
) -> dict[int, dict[str, Tensor | Replacement]]:
    """Replaced tensors of the attention sublayer and its norms, by block and name in the block."""
    tensors_of_block: dict[int, dict[str, Tensor | Replacement]] = {}
    dropped_blocks = dropped_attention(edit, n_blocks)
    for name, tensor in edit.tensors.items():
        index, _, inner = name.removeprefix(f"{body.blocks}.").partition(".")
        if (
            inner.startswith((f"{body.attn}.", *body.attn_norms))
            and int(index) not in dropped_blocks
        ):
            tensors_of_block.setdefault(int(index), {})[inner] = tensor
    return dict(sorted(tensors_of_block.items()))


def split(dense: Attended, variant: Attended, scoring: Scoring, start: int, rows: slice) -> Split:
    """Split Δo exactly at some positions of one attention sublayer.

    Parameters
    ----------
    dense, variant : q, k and v of each model, under a single history.
    scoring : mask, scaling and cap of this sublayer, the same for both models.
    start : position of the last prompt token.
    rows : positions whose output is split.
    """
    alpha, v = _weights_and_values(dense, scoring, rows)
    alpha_variant, v_variant = _weights_and_values(variant, scoring, rows)
    delta_alpha, delta_v = alpha_variant - alpha, v_variant - v
    paths = ((alpha, delta_v), (delta_alpha, v), (delta_alpha, delta_v))
    keys = (slice(None, start + 1), slice(start + 1, None))
    parts = [
        torch.stack([_summed(weights[..., positions], values[:, positions]) for positions in keys])
        for weights, values in paths
    ]
    return Split(_summed(alpha, v), torch.stack(parts))


def _summed(weights: Tensor, values: Tensor) -> Tensor:
    """Σ α v over keys, (kv_heads, rows, queries of a group x d_head)."""
    return (weights @ values.unsqueeze(1)).transpose(1, 2).flatten(2)


def _weights_and_values(attended: Attended, scoring: Scoring, rows: slice) -> tuple[Tensor, Tensor]:
    """α, (kv_heads, queries of a group, rows, keys), and v, (kv_heads, keys, d_head), in float64.

    Raises ValueError if `attended` holds several histories.
    """
    if len(attended.query) != 1:
        raise ValueError(
            f"attention was read under {len(attended.query)} histories, but a split "
            "needs exactly one. Choose it with Attended.under(history)."
        )
    in_float64 = Attended(attended.query[:, :, rows].double(), *(t.double() for t in attended[1:]))
    alpha = histories.attention_weights(
        in_float64,
        in_float64,
        None,
        scoring.mask[..., rows, :].double(),
        scoring.scaling,
        scoring.cap,
    )
    value = in_float64.value[0]
    return alpha.view(len(value), -1, *alpha.shape[2:]), value


@torch.inference_mode()
def as_table(
    prompt: str,
    history: str,
    start: int,
    dense: Mapping[int, Attended],
    variant: Mapping[int, Attended],
    scoring: Mapping[int, Scoring],
) -> pa.Table:
    """The attention error of one prompt as rows of `attention_error`, from `start` to the end.

    Parameters
    ----------
    prompt, history : names of the prompt and the history, for the key columns.
    start : position of the last prompt token, which is step 0.
    dense, scoring : `attended` and `scoring` of the dense pass, by block.
    variant : q, k and v on the same tokens, by block: from `edited_attention`, or `attended` of the
        variant's pass under its own history. Every block in it gets rows.
    """
    schema = TABLES["attention_error"].schema
    tables = [schema.empty_table()]
    for block in sorted(variant):
        norm, share, moved = _measured(dense[block], variant[block], scoring[block], start)
        finite.checked(
            np.stack([norm, np.where(moved == 0, 0, share)]),
            f"prompt {prompt}, {history}, block {block}: attention errors",
        )
        columns = {
            "prompt": pa.repeat(prompt, norm.size),
            "history": pa.repeat(history, norm.size),
            "block": pa.repeat(pa.scalar(block, pa.int32()), norm.size),
            **_key(norm.shape),
            "relative_norm": pa.array(norm.ravel()),
            "share": pa.array(share.ravel(), mask=moved.ravel() == 0),
        }
        tables.append(pa.table(columns, schema=schema))
    return pa.concat_tables(tables)


def _measured(dense: Attended, variant: Attended, scoring: Scoring, start: int) -> np.ndarray:
    """|part|/|o|, <part, Δo>/|Δo|², and |Δo|², (3, steps, kv_heads, paths, keys).

    Positions are processed in chunks, so that memory does not grow with rows x keys.
    """
    _, heads, positions, _ = dense.query.shape
    chunk_size = max(1, WEIGHTS_AT_ONCE // (heads * positions))
    chunks = []
    for first in range(start, positions, chunk_size):
        output, parts = split(dense, variant, scoring, start, slice(first, first + chunk_size))
        delta = parts.sum((0, 1))
        moved = _dot(delta, delta).expand(parts.shape[:-1])
        norm = (_dot(parts, parts) / _dot(output, output)).sqrt()
        chunks.append(torch.stack([norm, _dot(parts, delta) / moved, moved]))
    measured: np.ndarray = torch.cat(chunks, dim=-1).permute(0, 4, 3, 1, 2).cpu().numpy()
    return measured


def _dot(left: Tensor, right: Tensor) -> Tensor:
    return (left * right).sum(-1)


def _key(shape: tuple[int, ...]) -> dict[str, pa.Array]:
    """Key columns of the entries of (steps, kv_heads, paths, keys)."""
    step, group, path, keys = (index.ravel().astype(np.int32) for index in np.indices(shape))
    return {
        "step": pa.array(step),
        "head_group": pa.array(group),
        "path": comparisons.labelled(PATHS, path),
        "keys": comparisons.labelled(KEYS, keys),
    }
