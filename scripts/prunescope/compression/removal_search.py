"""Search the sublayers or blocks whose removal changes a model's output least.

A removal is scored on the states after the last block. `output_kl` is the mean over positions of
KL(p‖q), p of the dense model and q without the dropped parts, at T = 1. `output_variance` is
Theorem 3's estimate of it, Var_p(Δz)/2. `cosine` is the influence of He et al. 2026: 1 - cos of the
states before and after the part, in the model without the parts that were dropped before.

A candidate differs from the model it is taken from only above its block. Its pass therefore begins
at that block, from the cached state: on average half a pass per candidate. KL and variance are not
negative, so that the sum over some positions bounds the sum over all of them from below. After the
first choice, a candidate is given up as soon as this bound exceeds the sum of a candidate that has
been read completely, because it can no longer be chosen.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from prunescope import progress
from prunescope.compression.partial_passes import Batch, Blocks, CachedPass, Part
from prunescope.compression.selections import Selection
from prunescope.measures import comparisons, metrics
from prunescope.model import unembedding
from prunescope.tables.schemas import TABLES

TEMPERATURE = 1.0
"""T of the compared probabilities, that of the model's own distribution."""

_TRIAL_ROWS = 32
"""Rows of logits by which the time of a search is estimated."""


@dataclass
class Score:
    """What is known of one candidate.

    Attributes
    ----------
    n_read : number of positions read so far.
    distance, kl_divergence, var_p : sums over them of 1 - cos, KL in nats and Var_p(Δz) in logits²;
        NaN if they are not computed.
    """

    n_read: int = 0
    distance: float = math.nan
    kl_divergence: float = math.nan
    var_p: float = math.nan

    def total(self, criterion: str) -> float:
        """The sum by which a criterion judges the candidate."""
        if criterion == "cosine":
            return self.distance
        return self.kl_divergence if criterion == "output_kl" else self.var_p / 2


@dataclass(frozen=True)
class Round:
    """The scores of all candidates in one round, and which of them was chosen, if any."""

    scores: dict[Part, Score]
    chosen: Part | None


@dataclass
class OutputDistance:
    """Compares the logits of states after the last block, in products that fit into memory.

    Attributes
    ----------
    model : the dense model.
    memory_mb : most memory for logits and their statistics, in MB.
    rows : rows of logits computed so far.
    """

    model: Any
    memory_mb: float
    rows: int = 0
    _buffer: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self._unembed = unembedding.readout_of(self.model, final_norm=True)
        self._most_rows = comparisons.rows_within(self.memory_mb, self._unembed.vocabulary)
        size = (self._most_rows, self._unembed.vocabulary)
        self._buffer = torch.empty(size, dtype=self._unembed.dtype, device=self.model.device)

    def sums(self, dense: Tensor, variants: Sequence[Tensor]) -> list[tuple[float, float]]:
        """Sums over positions of KL(p‖q) and of Var_p(Δz), for each variant.

        Parameters
        ----------
        dense : (positions, d).
        variants : (positions, d) each.
        """
        together = self._most_rows - 1
        groups = [variants[i : i + together] for i in range(0, len(variants), together)]
        return [sums for group in groups for sums in self._sums(dense, group)]

    def _sums(self, dense: Tensor, variants: Sequence[Tensor]) -> list[tuple[float, float]]:
        """As `sums`; the dense row and those of all variants of a position share a product."""
        positions, width = len(dense), 1 + len(variants)
        compared = comparisons.PairStatistics(
            positions, len(variants), [TEMPERATURE], self.model.device
        )
        pairs = tuple(range(len(variants)))
        slab = comparisons.Slab(pairs, slice(0, width), slice(0, 1), slice(1, width))
        chunk_size = max(1, self._most_rows // width)
        for start in range(0, positions, chunk_size):
            chunk = slice(start, min(start + chunk_size, positions))
            h = torch.stack([states[chunk] for states in (dense, *variants)], 1)
            rows = h.shape[0] * width
            z = self._unembed(h.flatten(0, 1), self._buffer[:rows]).unflatten(0, (-1, width))
            compared.put_logits(chunk, z, slab)
            self.rows += rows
        statistics = (compared.p.kl_divergence, compared.p.var_p)
        kl, variance = (each[..., 0].clamp(min=0).sum(0).tolist() for each in statistics)
        return list(zip(kl, variance, strict=True))


class Search:
    """Searches what to drop from one model by one selection.

    Parameters
    ----------
    model : the dense model, which is causal.
    batches : the text.
    selection : criterion and search, and what may be dropped.
    memory_mb : most memory for logits and their statistics, in MB.

    Attributes
    ----------
    n_positions : number of scored positions.
    blocks, outputs : count the blocks that were run and the rows of logits.
    """

    @torch.inference_mode()
    def __init__(
        self, model: Any, batches: Sequence[Batch], selection: Selection, memory_mb: float
    ) -> None:
        self._selection = selection
        self.blocks = Blocks(model)
        self.outputs = OutputDistance(model, memory_mb)
        self._passes = [CachedPass(model, self.blocks, batch) for batch in batches]
        self.n_positions = sum(len(each.dense) for each in self._passes)
        self._candidates = [
            Part(block, kind) for block in range(self.blocks.count) for kind in selection.kinds
        ]

    @property
    def n_passes(self) -> float:
        """Work so far in passes of the whole text: blocks run per block and batch."""
        return self.blocks.calls / self.blocks.count / len(self._passes)

    @torch.inference_mode()
    def rounds(self, n_drop: int | str) -> list[Round]:
        """Score the candidates: once if the search is one_shot, else once per choice.

        Parameters
        ----------
        n_drop : number of parts that a greedy search drops, or `all`.
        """
        count = len(self._candidates) if n_drop == "all" else int(n_drop)
        if count > len(self._candidates):
            raise ValueError(
                f"n_drop is {count}, but the model has only {len(self._candidates)} of "
                f"{'/'.join(self._selection.kinds)}. Choose a smaller n_drop in config."
            )
        is_greedy = self._selection.search == "greedy"
        self._log_cost(count if is_greedy else 1)
        if not is_greedy:
            return [Round(self._scores(self._candidates, None), None)]
        found: list[Round] = []
        left, first = list(self._candidates), None
        for _ in progress.track(range(count), "parts chosen"):
            scores = self._scores(left, first)
            ranked = sorted(left, key=lambda part: self._order(part, scores[part]))
            found.append(Round(scores, ranked[0]))
            left.remove(ranked[0])
            first = ranked[1] if left else None
            for each in self._passes:
                each.drop(ranked[0])
        return found

    def _order(self, part: Part, score: Score) -> tuple[bool, float, Part]:
        """Completely read candidates first, by their sums; ties by block."""
        return score.n_read < self.n_positions, score.total(self._selection.criterion), part

    def _scores(self, candidates: Sequence[Part], first: Part | None) -> dict[Part, Score]:
        """Scores of all candidates; some are bounds if `first`, one of them, is read before."""
        scores = {part: Score() for part in candidates}
        most = math.inf
        if first is not None and self._selection.criterion != "cosine":
            for each in self._passes:
                self._read(each, {first: scores[first]})
            most = scores[first].total(self._selection.criterion)
        for each in self._passes:
            going_on = {
                part: score
                for part, score in scores.items()
                if score.n_read < self.n_positions
                and not score.total(self._selection.criterion) > most
            }
            self._read(each, going_on)
        return scores

    def _read(self, text: CachedPass, scores: dict[Part, Score]) -> None:
        """Add the positions of one batch to the scores."""
        if not scores:
            return
        if self._selection.criterion == "cosine":
            for part, score in scores.items():
                before, after = (_wide(state) for state in text.around(part))
                distance = metrics.angular_deviation(before, after).double().sum().item()
                score.distance = _added(score.distance, distance)
        else:
            final_states = [text.without(part) for part in scores]
            sums = self.outputs.sums(text.dense, final_states)
            for score, (kl, variance) in zip(scores.values(), sums, strict=True):
                score.kl_divergence = _added(score.kl_divergence, kl)
                score.var_p = _added(score.var_p, variance)
        for score in scores.values():
            score.n_read += len(text.dense)

    def most_work(self, rounds: int) -> tuple[float, int]:
        """The most forward passes and rows of logits that a search needs, the dense pass included.

        Parameters
        ----------
        rounds : number of choices, or 1 in one shot.
        """
        above = [self.blocks.count - part.block for part in self._candidates]
        chosen = rounds if self._selection.search == "greedy" else 0
        if self._selection.criterion == "cosine":
            run_again = sum(part.kind != "block" for part in self._candidates)
            return 1 + rounds * run_again / self.blocks.count + chosen, 0
        passes = 1 + rounds * sum(above) / self.blocks.count + chosen
        return passes, rounds * (len(above) + 2) * self.n_positions  # twice beside dense's rows

    def _log_cost(self, rounds: int) -> None:
        """Write to the log what the search costs at most, by the time of a short trial."""
        passes, rows = self.most_work(rounds)
        seconds = passes * sum(each.seconds for each in self._passes)
        if rows:
            seconds += rows * self._seconds_per_row()
        progress.LOG.info(
            "%s: %d candidates on %d positions, %d rounds: at most %.1f forward passes and %d rows "
            "of logits, about %.0f s",
            *(self._selection.name, len(self._candidates), self.n_positions, rounds),
            *(passes, rows, seconds),
        )

    def _seconds_per_row(self) -> float:
        states = self._passes[0].dense[:_TRIAL_ROWS]
        for _ in range(2):  # the first one compiles
            start = time.perf_counter()
            self.outputs.sums(states, [states])
        self.outputs.rows = 0
        return (time.perf_counter() - start) / len(states) / 2

    def table(self, rounds: Sequence[Round]) -> pa.Table:
        """The scores of all rounds as table `removal_score`."""
        criterion = self._selection.criterion
        rows = [
            {
                "n_dropped": n_dropped,
                "block": part.block,
                "sublayer": part.kind,
                "score": score.total(criterion) / self.n_positions,
                "kl_divergence": _or_none(score.kl_divergence / self.n_positions),
                "var_p": _or_none(score.var_p / self.n_positions),
                "is_bound": score.n_read < self.n_positions,
                "is_chosen": part == each.chosen,
                "n_tokens": self.n_positions,
            }
            for n_dropped, each in enumerate(rounds)
            for part, score in each.scores.items()
        ]
        return pa.Table.from_pylist(rows, schema=TABLES["removal_score"].schema)


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _wide(states: Tensor) -> Tensor:
    return states.to(torch.promote_types(states.dtype, torch.float32))


def _added(total: float, more: float) -> float:
    return more if math.isnan(total) else total + more
