"""The decoding trace: the output of a whole variant compared with the dense model's at every step.

A history says where the keys and values of earlier positions come from. There are four, in the
order in which Δz telescopes (Eq. 70). Three read the dense model's tokens, with one forward pass
each. In the fourth, `free_running`, each model reads its own tokens; as long as these are equal,
its states are bit for bit those of teacher forcing.
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
from prunescope.measures.comparisons import PairStatistics, Slab
from prunescope.model import prompts, sampling, unembedding
from prunescope.model.variant import Variant
from prunescope.tables.schemas import TABLES
from prunescope.tracing import histories

FREE_RUNNING = "free_running"

HISTORIES = (*histories.ON_DENSE_TOKENS, FREE_RUNNING)
"""Where the keys and values of a variant's earlier positions come from."""

TERMS = ("parameters", "prompt_history", "generated_history", "diverged_tokens")
"""The terms of Δz (Eq. 70): what each history adds to the previous one."""

_SLAB = Slab(tuple(range(len(HISTORIES))), slice(None), slice(0, 1), slice(1, None))
"""One dense row of logits, compared with the variant's row under every history."""


@dataclass(frozen=True)
class DecodingSettings:
    """Settings of decoding and of its statistics.

    Attributes
    ----------
    max_new_tokens : largest number of tokens of an answer.
    seed : seed of the noise for sampling.
    temperatures : the values of T in softmax(z/T) for the statistics, not for sampling.
    thresholds : section `texts` in config.
    memory_mb : memory for logits, in MiB.
    """

    max_new_tokens: int
    seed: int
    temperatures: Sequence[float]
    thresholds: wording.Thresholds
    memory_mb: float


class States(NamedTuple):
    """The input of lm_head at every step of one answer, from the last prompt token on.

    Attributes
    ----------
    dense : (steps, d).
    variant : (steps, histories, d). Under `free_running`, only the first `n_common_steps` count.
    n_common_steps : number of steps before either model has stopped.
    reread : (tokens, d), states of the dense model on the text that the variant generated.
    """

    dense: Tensor
    variant: Tensor
    n_common_steps: int
    reread: Tensor


class Compared(NamedTuple):
    """Statistics that compare both models on one answer.

    Attributes
    ----------
    statistics : (steps, histories, …).
    term_norm, term_share : (steps, terms).
    variant_token : (steps, histories), the token that the variant chooses (see `_chosen`).
    dense_log_p : (steps,), log p in nats of the dense model's own tokens at T = 1.
    first_logits : (1 + histories, vocab), the logits at step 0, dense first.
    """

    statistics: PairStatistics
    term_norm: Tensor
    term_share: Tensor
    variant_token: Tensor
    dense_log_p: Tensor
    first_logits: Tensor


@torch.inference_mode()
def states(
    dense: Any, variant: Variant, answer: Mapping[str, Any], variant_tokens: Sequence[int]
) -> States:
    """Hidden states of both models under every history.

    Parameters
    ----------
    dense : the model that `variant` was made from.
    answer : a row of `dense_answer`.
    variant_tokens : the tokens that the variant generated for the same prompt.
    """
    context, start = prompts.context_of(answer)
    token_ids = torch.tensor(context, device=dense.device)
    dense_pass = histories.run(dense, token_ids)
    passes = []
    for history, rows_from_dense in histories.ON_DENSE_TOKENS.items():
        if history == "teacher_forced":
            passes.append(histories.run(variant.model, token_ids, variant.edit))
        else:
            mask = rows_from_dense(len(context), start).unsqueeze(0)
            passes.append(
                histories.run(variant.model, token_ids, variant.edit, dense_pass.attended, mask)
            )
    free_running = _on_own_tokens(variant, passes[-1], answer, variant_tokens)
    variant_states = [each.h[0, start:] for each in passes]
    steps = len(variant_states[-1])
    variant_states.append(
        torch.cat([free_running, variant_states[-1][len(free_running) :]])[:steps]
    )
    n_common_steps = min(steps, len(variant_tokens))
    reread = _on_own_tokens(Variant(dense), dense_pass, answer, variant_tokens)
    return States(dense_pass.h[0, start:], torch.stack(variant_states, 1), n_common_steps, reread)


def _on_own_tokens(
    model: Variant,
    on_dense: histories.Pass,
    answer: Mapping[str, Any],
    variant_tokens: Sequence[int],
) -> Tensor:
    """States of a model on the variant's text, (tokens, d).

    The tokens before the two texts diverge are not read again: their states come from `on_dense`,
    the pass of the same model over the dense model's text.
    """
    dense_context, start = prompts.context_of(answer)
    context, _ = prompts.context_of({**answer, "answer_token_ids": list(variant_tokens)})
    divergence = wording.first_divergence(dense_context, context)
    n_shared = len(context) if divergence is None else divergence
    states = on_dense.h[0, start:n_shared]
    if n_shared == len(context):
        return states
    rest = torch.tensor(context[n_shared:], device=states.device)
    return torch.cat([states, histories.continue_pass(model, on_dense.attended, n_shared, rest)])


@torch.inference_mode()
def compare(
    answer_states: States,
    unembed: unembedding.Unembedding,
    answer: Mapping[str, Any],
    temperatures: Sequence[float],
    memory_mb: float,
    seed: int,
) -> Compared:
    """All statistics of one answer; logits are in memory for a few steps at a time.

    Parameters
    ----------
    answer_states : from `states`.
    unembed : the map from states to logits, shared by both models.
    answer : a row of `dense_answer`.
    temperatures : the values of T in softmax(z/T).
    memory_mb : memory for logits, in MiB.
    seed : seed of the noise that the tokens were sampled with.
    """
    steps = len(answer_states.dense)
    statistics = PairStatistics(steps, len(HISTORIES), temperatures, answer_states.dense.device)
    statistics.put_states(
        answer_states.dense.unsqueeze(1).expand_as(answer_states.variant), answer_states.variant
    )
    parts: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    first_logits: list[Tensor] = []
    for chunk, z in _logits(answer_states, unembed, memory_mb):
        statistics.put_logits(chunk, z, _SLAB)
        first_logits = first_logits or [z[0].clone()]
        tokens = answer["answer_token_ids"][chunk]
        parts.append(
            (*_terms(z), _chosen(z, answer, seed, chunk), wording.log_likelihoods(z[:, 0], tokens))
        )
    norm, share, chosen, log_p = (torch.cat(each) for each in zip(*parts, strict=True))
    return Compared(statistics, norm, share, chosen, log_p, first_logits[0])


def _logits(
    answer_states: States, unembed: unembedding.Unembedding, memory_mb: float
) -> Iterator[tuple[slice, Tensor]]:
    """Yield chunks of steps with their logits, (steps, 1 + histories, vocab), dense first."""
    h = torch.cat([answer_states.dense.unsqueeze(1), answer_states.variant], 1)
    width = h.shape[1]
    chunk_size = max(1, comparisons.rows_within(memory_mb, unembed.vocabulary) // width)
    shape = (min(chunk_size, len(h)) * width, unembed.vocabulary)
    buffer = torch.empty(shape, dtype=unembed.dtype, device=h.device)
    for start in range(0, len(h), chunk_size):
        chunk = h[start : start + chunk_size]
        z = unembed(chunk.flatten(0, 1), buffer[: len(chunk) * width]).unflatten(0, (-1, width))
        _share_equal(chunk, z)
        yield slice(start, start + len(chunk)), z


def _share_equal(h: Tensor, z: Tensor) -> None:
    """Copy the logits of the previous row wherever a state equals the previous one, in place.

    Some BLAS libraries round a row differently depending on its position in the product.

    Parameters
    ----------
    h : (steps, rows, d).
    z : (steps, rows, vocab).
    """
    equal = (h[:, 1:] == h[:, :-1]).all(-1)
    for row in range(1, h.shape[1]):
        steps = equal[:, row - 1]
        z[steps, row] = z[steps, row - 1]


def _terms(z: Tensor) -> tuple[Tensor, Tensor]:
    """|term of Δz| and <term, Δz>/|Δz|², (steps, 1 + histories, vocab) -> (steps, terms) each.

    Terms are centred, because a constant added to all logits changes no probability. They are
    computed for a few steps at a time.
    """
    chunks = []
    for chunk in z.split(comparisons.PAIRS_TOGETHER // len(HISTORIES)):
        term = chunk[:, 1:] - chunk[:, :-1]
        term -= term.mean(-1, keepdim=True)
        delta_z = term.sum(1, keepdim=True)
        share = metrics.dot(term, delta_z) / metrics.dot(delta_z, delta_z)
        chunks.append(torch.stack([metrics.norm(term), share]))
    norm, share = torch.cat(chunks, 1)
    return norm, share


def _chosen(z: Tensor, answer: Mapping[str, Any], seed: int, steps: slice) -> Tensor:
    """Tokens that the variant chooses under each history, (steps, histories).

    If both models choose the same token in their passes, the result is the token that the dense
    model decoded. Below float32, the dense pass may round to another token than decoding did (see
    `noise`); then the decoded token is the one to report.
    """
    temperature = answer["sampling_temperature"]
    scores = sampling.scores(z, temperature, seed, answer["prompt"], steps.start)
    dense_choice, variant_choice = scores.argmax(-1).split([1, z.shape[1] - 1], dim=1)
    decoded = torch.tensor(answer["answer_token_ids"][steps], device=z.device).unsqueeze(-1)
    return torch.where(variant_choice == dense_choice, decoded, variant_choice)


@torch.inference_mode()
def log_likelihoods(unembed: unembedding.Unembedding, h: Tensor, tokens: Sequence[int]) -> Tensor:
    """log p of every token of a text, in nats at T = 1, (tokens,) float64.

    Parameters
    ----------
    unembed : the map from states to logits.
    h : the input of lm_head before each token, (tokens, d).
    tokens : token ids of the text.
    """
    chunk_size = comparisons.PRODUCT_ROWS // 8
    log_p = torch.cat(
        [
            wording.log_likelihoods(
                unembed(chunk), tokens[index * chunk_size : index * chunk_size + chunk_size]
            )
            for index, chunk in enumerate(h.split(chunk_size))
        ]
    )
    return finite.checked(log_p, "log-likelihoods of the variant's text under dense")


def tables_of(
    answer: Mapping[str, Any],
    variant_tokens: Sequence[int],
    answer_states: States,
    compared: Compared,
) -> dict[str, pa.Table]:
    """Tables `decoded_step`, `decoding_trace`, `decoding_shift` and `history_term` of one answer.

    Parameters
    ----------
    answer : a row of `dense_answer`.
    variant_tokens : the tokens that the variant generated.
    answer_states, compared : from `states` and `compare`, for this answer.
    """
    steps = len(answer_states.dense)
    step, history = np.indices((steps, len(HISTORIES)))
    counts = (np.asarray(HISTORIES)[history] != FREE_RUNNING) | (
        step < answer_states.n_common_steps
    )
    answer_key = {
        "prompt": pa.scalar(answer["prompt"]),
        "sampling_temperature": pa.scalar(float(answer["sampling_temperature"])),
    }
    key = {
        **{column: pa.repeat(value, int(counts.sum())) for column, value in answer_key.items()},
        "history": comparisons.labelled(HISTORIES, history[counts]),
        "step": pa.array(step[counts], pa.int32()),
    }
    trace, shift = compared.statistics.as_tables(
        "decoding_trace", "decoding_shift", key, torch.from_numpy(counts)
    )
    term_step, term = np.indices((answer_states.n_common_steps, len(TERMS)))
    share = compared.term_share[: answer_states.n_common_steps].double().cpu().numpy().ravel()
    terms = {
        **{column: pa.repeat(value, term.size) for column, value in answer_key.items()},
        "step": pa.array(term_step.ravel(), pa.int32()),
        "term": comparisons.labelled(TERMS, term.ravel()),
        "norm": pa.array(
            compared.term_norm[: answer_states.n_common_steps].double().cpu().numpy().ravel()
        ),
        "share": pa.array(share, mask=np.isnan(share)),
    }
    return {
        "decoded_step": _decoded(answer, variant_tokens, compared.variant_token),
        "decoding_trace": trace,
        "decoding_shift": shift,
        "history_term": pa.table(terms, schema=TABLES["history_term"].schema),
    }


def _decoded(answer: Mapping[str, Any], variant_tokens: Sequence[int], chosen: Tensor) -> pa.Table:
    """Table `decoded_step`: the tokens that both models chose at every step, per history."""
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
    for step in range(max(len(dense), len(variant_tokens))):
        dense_token = dense[step] if step < len(dense) else None
        variant_token = variant_tokens[step] if step < len(variant_tokens) else None
        running = "variant" if dense_token is None else "dense" if variant_token is None else "both"
        rows.append(
            {"history": FREE_RUNNING, "step": step, "running": running}
            | {"dense_token": dense_token, "variant_token": variant_token}
        )
    shared = {key: answer[key] for key in ("prompt", "sampling_temperature")}
    return pa.Table.from_pylist(
        [shared | row for row in rows], schema=TABLES["decoded_step"].schema
    )
