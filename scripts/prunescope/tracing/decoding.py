"""The decoding trace: a whole variant against dense at the model's output, step by step.

Four histories, in the order in which Δz telescopes (Eq. 70): three on the dense model's tokens,
one pass each, and `free_running`, where each model reads its own. Where both have read the same
tokens, free running is teacher forcing, to the bit.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from prunescope import finite
from prunescope.measures import comparisons, metrics, wording
from prunescope.measures.comparisons import Columns, Slab
from prunescope.model import prompts, sampling, unembedding
from prunescope.model.variant import Variant
from prunescope.tables.schemas import TABLES
from prunescope.tracing import histories

FREE_RUNNING = "free_running"

HISTORIES = (*histories.ON_DENSE_TOKENS, FREE_RUNNING)
"""Where a variant's earlier positions come from."""

TERMS = ("parameters", "prompt_history", "generated_history", "diverged_tokens")
"""What each history adds to the one before, of Δz (Eq. 70)."""

_SLAB = Slab(tuple(range(len(HISTORIES))), slice(None), slice(0, 1), slice(1, None))
"""Dense and the variant under every history: one dense row serves all."""


@dataclass(frozen=True)
class Settings:
    """How a variant decodes, and what is read of that.

    Attributes
    ----------
    max_new_tokens : of an answer. seed : of the noise that tokens are sampled with.
    temperatures : T of softmax(z/T) in the statistics; not that of the sampling.
    thresholds : `texts: degenerate` in config.
    memory_mb : memory for logits, in MiB.
    """

    max_new_tokens: int
    seed: int
    temperatures: Sequence[float]
    thresholds: Mapping[str, float]
    memory_mb: float


class States(NamedTuple):
    """What lm_head reads at every step of one answer, from the last prompt token on.

    dense : (steps, d). variant : (steps, histories, d); under `free_running` its first `both`
    steps count, at which neither model has stopped. reread : (tokens, d), the dense model's on the
    variant's own text.
    """

    dense: Tensor
    variant: Tensor
    both: int
    reread: Tensor


class Compared(NamedTuple):
    """One answer of dense and of the variant, compared.

    columns : (steps, histories, …). term_norm, term_share : (steps, terms).
    variant_token : (steps, histories), what the variant chose (`_chosen`). dense_log_p : (steps,),
    in nats, of dense's own tokens at T = 1. first_logits : (1 + histories, vocab) at step 0.
    """

    columns: Columns
    term_norm: Tensor
    term_share: Tensor
    variant_token: Tensor
    dense_log_p: Tensor
    first_logits: Tensor


@torch.inference_mode()
def states(dense: Any, variant: Variant, answer: Mapping[str, Any], own: Sequence[int]) -> States:
    """States of both models under every history.

    Parameters
    ----------
    dense : the model that `variant` was made from.
    answer : a row of `dense_answer`.
    own : tokens the variant wrote in its place.
    """
    read, start = prompts.context_of(answer)
    token_ids = torch.tensor(read, device=dense.device)
    of_dense = histories.run(dense, token_ids)
    passes = []
    for history, of in histories.ON_DENSE_TOKENS.items():
        if history == "teacher_forced":
            passes.append(histories.run(variant.model, token_ids, variant.edit))
        else:
            mask = of(len(read), start).unsqueeze(0)
            passes.append(
                histories.run(variant.model, token_ids, variant.edit, of_dense.attended, mask)
            )
    free = _on_own_tokens(variant, passes[-1], answer, own)
    found = [each.h[0, start:] for each in passes]
    steps = len(found[-1])
    found.append(torch.cat([free, found[-1][len(free) :]])[:steps])
    both = min(steps, len(own))
    reread = _on_own_tokens(Variant(dense), of_dense, answer, own)
    return States(of_dense.h[0, start:], torch.stack(found, 1), both, reread)


def _on_own_tokens(
    model: Variant, on_dense: histories.Pass, answer: Mapping[str, Any], own: Sequence[int]
) -> Tensor:
    """A model's states on the variant's text, (tokens, d): as on dense's until the two part.

    What comes before is not read again: `on_dense` is the model's pass over dense's text.
    """
    dense_read, start = prompts.context_of(answer)
    read, _ = prompts.context_of({**answer, "answer_token_ids": list(own)})
    parted = wording.first_divergence(dense_read, read)
    same = len(read) if parted is None else parted
    states = on_dense.h[0, start:same]
    if same == len(read):
        return states
    rest = torch.tensor(read[same:], device=states.device)
    return torch.cat([states, histories.go_on(model, on_dense.attended, same, rest)])


@torch.inference_mode()
def compare(
    at: States,
    unembed: unembedding.Unembedding,
    answer: Mapping[str, Any],
    temperatures: Sequence[float],
    memory_mb: float,
    seed: int,
) -> Compared:
    """Every statistic of one answer; logits exist for a few steps at a time.

    Parameters
    ----------
    answer : a row of `dense_answer`. seed : of the noise its tokens were chosen with.
    """
    steps = len(at.dense)
    columns = Columns(steps, len(HISTORIES), temperatures, at.dense.device)
    columns.put_states(at.dense.unsqueeze(1).expand_as(at.variant), at.variant)
    parts: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    first_logits: list[Tensor] = []
    for here, z in _logits(at, unembed, memory_mb):
        columns.put_logits(here, z, _SLAB)
        first_logits = first_logits or [z[0].clone()]
        tokens = answer["answer_token_ids"][here]
        parts.append(
            (*_terms(z), _chosen(z, answer, seed, here), wording.log_likelihoods(z[:, 0], tokens))
        )
    norm, share, chosen, log_p = (torch.cat(each) for each in zip(*parts, strict=True))
    return Compared(columns, norm, share, chosen, log_p, first_logits[0])


def _logits(
    at: States, unembed: unembedding.Unembedding, memory_mb: float
) -> Iterator[tuple[slice, Tensor]]:
    """Some steps and their logits, (steps, 1 + histories, vocab), dense first; then the next."""
    h = torch.cat([at.dense.unsqueeze(1), at.variant], 1)
    width = h.shape[1]
    at_once = max(1, comparisons.rows_within(memory_mb, unembed.vocabulary) // width)
    size = (min(at_once, len(h)) * width, unembed.vocabulary)
    buffer = torch.empty(size, dtype=unembed.dtype, device=h.device)
    for start in range(0, len(h), at_once):
        some = h[start : start + at_once]
        z = unembed(some.flatten(0, 1), buffer[: len(some) * width]).unflatten(0, (-1, width))
        _share_equal(some, z)
        yield slice(start, start + len(some)), z


def _share_equal(h: Tensor, z: Tensor) -> None:
    """Give a state equal to the one before it, (steps, rows, d), its logits, (steps, rows, vocab).

    Some BLAS round a row by its place in the product.
    """
    equal = (h[:, 1:] == h[:, :-1]).all(-1)
    for row in range(1, h.shape[1]):
        steps = equal[:, row - 1]
        z[steps, row] = z[steps, row - 1]


def _terms(z: Tensor) -> tuple[Tensor, Tensor]:
    """|term of Δz| and <term, Δz>/|Δz|², (steps, 1 + histories, vocab) -> (steps, terms) each.

    Terms are centred: a constant added to all logits is no change. A few steps at a time.
    """
    found = []
    for some in z.split(comparisons.PAIRS_TOGETHER // len(HISTORIES)):
        term = some[:, 1:] - some[:, :-1]
        term -= term.mean(-1, keepdim=True)
        delta_z = term.sum(1, keepdim=True)
        share = metrics.dot(term, delta_z) / metrics.dot(delta_z, delta_z)
        found.append(torch.stack([metrics.norm(term), share]))
    norm, share = torch.cat(found, 1)
    return norm, share


def _chosen(z: Tensor, answer: Mapping[str, Any], seed: int, steps: slice) -> Tensor:
    """Tokens the variant chooses under each history, (steps, histories).

    Where a pass has the variant choose as dense chooses in its pass, that is the token dense
    decoded: below float32 the pass may round to another (see `noise`), and the decoded one stands.
    """
    temperature = answer["sampling_temperature"]
    scores = sampling.scores(z, temperature, seed, answer["prompt"], steps.start)
    of_dense, of_variant = scores.argmax(-1).split([1, z.shape[1] - 1], dim=1)
    decoded = torch.tensor(answer["answer_token_ids"][steps], device=z.device).unsqueeze(-1)
    return torch.where(of_variant == of_dense, decoded, of_variant)


@torch.inference_mode()
def log_likelihoods(unembed: unembedding.Unembedding, h: Tensor, own: Sequence[int]) -> Tensor:
    """log p of a text, in nats at T = 1, (tokens,) float64.

    Parameters
    ----------
    h : what lm_head reads before each of its tokens, (tokens, d). own : the tokens.
    """
    rows = comparisons.PRODUCT_ROWS // 8
    log_p = torch.cat(
        [
            wording.log_likelihoods(unembed(some), own[place * rows : place * rows + rows])
            for place, some in enumerate(h.split(rows))
        ]
    )
    return finite.checked(log_p, "log-likelihoods of the variant's text under dense")


def rows_of(
    answer: Mapping[str, Any],
    own: Sequence[int],
    at: States,
    compared: Compared,
) -> dict[str, pa.Table]:
    """Rows of `decoded_step`, `decoding_trace`, `decoding_shift` and `history_term` of one answer.

    Parameters
    ----------
    answer : a row of `dense_answer`.
    own : tokens the variant wrote.
    at, compared : from `states` and `compare`, of this answer.
    """
    steps = len(at.dense)
    step, history = np.indices((steps, len(HISTORIES)))
    counts = (np.asarray(HISTORIES)[history] != FREE_RUNNING) | (step < at.both)
    name = {
        "prompt": pa.scalar(answer["prompt"]),
        "sampling_temperature": pa.scalar(float(answer["sampling_temperature"])),
    }
    key = {
        **{column: pa.repeat(value, int(counts.sum())) for column, value in name.items()},
        "history": comparisons.labelled(HISTORIES, history[counts]),
        "step": pa.array(step[counts], pa.int32()),
    }
    trace, shift = compared.columns.as_tables(
        "decoding_trace", "decoding_shift", key, torch.from_numpy(counts)
    )
    term_step, term = np.indices((at.both, len(TERMS)))
    share = compared.term_share[: at.both].double().cpu().numpy().ravel()
    terms = {
        **{column: pa.repeat(value, term.size) for column, value in name.items()},
        "step": pa.array(term_step.ravel(), pa.int32()),
        "term": comparisons.labelled(TERMS, term.ravel()),
        "norm": pa.array(compared.term_norm[: at.both].double().cpu().numpy().ravel()),
        "share": pa.array(share, mask=np.isnan(share)),
    }
    return {
        "decoded_step": _decoded(answer, own, compared.variant_token),
        "decoding_trace": trace,
        "decoding_shift": shift,
        "history_term": pa.table(terms, schema=TABLES["history_term"].schema),
    }


def _decoded(answer: Mapping[str, Any], own: Sequence[int], chosen: Tensor) -> pa.Table:
    """What both models chose at every step, under every history."""
    dense = answer["answer_token_ids"]
    rows: list[dict[str, object]] = []
    for index, history in enumerate(histories.ON_DENSE_TOKENS):
        rows += [
            {"history": history, "step": step, "running": "both"}
            | {"dense_token": token, "variant_token": variant}
            for step, (token, variant) in enumerate(
                zip(dense, chosen[:, index].tolist(), strict=True)
            )
        ]
    for step in range(max(len(dense), len(own))):
        of_dense = dense[step] if step < len(dense) else None
        of_variant = own[step] if step < len(own) else None
        running = "variant" if of_dense is None else "dense" if of_variant is None else "both"
        rows.append(
            {"history": FREE_RUNNING, "step": step, "running": running}
            | {"dense_token": of_dense, "variant_token": of_variant}
        )
    shared = {key: answer[key] for key in ("prompt", "sampling_temperature")}
    return pa.Table.from_pylist(
        [shared | row for row in rows], schema=TABLES["decoded_step"].schema
    )
