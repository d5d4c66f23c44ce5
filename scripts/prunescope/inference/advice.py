"""Which variants lose no more than a limit on one kind of task, and how sure that is.

The best of many variants is chosen after looking at all of them. Each variant's interval is
therefore widened, so that with 95 % confidence all of them hold at once (Bonferroni 1936): its
distance from the difference is multiplied by z(1 - 0.025/K) / z(0.975) for K variants, as if the
bootstrap distribution were normal. No interval ends nearer to the difference than n items allow:
if none of them got worse, a share of up to 1 - (0.025/K)^(1/n) may still do (Clopper & Pearson
1934), whereas a bootstrap of such items has no width.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

from prunescope import finite

LEAST_ITEMS = 30
"""Fewer items give no verdict: their bootstrap intervals are too narrow."""

LEVEL = 0.05
"""Probability that any of the intervals misses, at most."""

VERDICTS = ("within", "undecided", "lost", "cannot tell")
"""In the order in which variants are listed."""


@dataclass(frozen=True)
class Loss:
    """The scores of a variant and of dense on the same items of one kind of task.

    Attributes
    ----------
    n_items : number of items.
    dense_score, score, chance : mean scores, and that of a guess, 0 to 1.
    low, difference, high : score minus dense_score, and its 95 % interval for this variant alone.
    dense_margin_low : lower end of the interval of dense_score minus chance.
    """

    n_items: int
    dense_score: float
    score: float
    chance: float
    low: float
    difference: float
    high: float
    dense_margin_low: float


@dataclass(frozen=True)
class Cost:
    """What a variant needs as a share of what dense needs, and how many times as fast it is.

    Attributes
    ----------
    memory : bytes of the weights, packed, as a share of dense's.
    kv : bytes of the key-value cache per token, likewise; 1 if dense has none.
    speed, speed_low, speed_high : speedup of decoding, and its 95 % interval.
    same_operations : whether the variant runs dense's products, so that no speed can be gained.
    """

    memory: float
    kv: float
    speed: float
    speed_low: float
    speed_high: float
    same_operations: bool


@dataclass(frozen=True)
class Candidate:
    """A variant with what it loses and costs.

    Attributes
    ----------
    name : name of the variant.
    what : what it drops or which pattern it has, in words.
    loss, cost : measured.
    """

    name: str
    what: str
    loss: Loss
    cost: Cost


@dataclass(frozen=True)
class Judged:
    """A candidate with its verdict.

    Attributes
    ----------
    candidate : the candidate.
    low, high : the interval of the difference, widened for all candidates together.
    verdict : one of `VERDICTS`.
    n_to_decide : number of items that would decide it if the difference stays; None if it is
        decided, or if no number would.
    """

    candidate: Candidate
    low: float
    high: float
    verdict: str
    n_to_decide: int | None


def advise(candidates: Sequence[Candidate], max_loss: float, save: str) -> list[Judged]:
    """Candidates with their verdicts, by verdict and then by what they save.

    Parameters
    ----------
    candidates : the variants to choose from, without dense.
    max_loss : the largest accepted loss, a difference of scores, above 0 and below 1.
    save : `memory`, `kv` or `speed`.

    Raises
    ------
    ValueError
        if max_loss is not between 0 and 1, or save is none of these.
    finite.NotFinite
        if a score or an end of an interval is NaN or infinite.
    """
    if not 0 < max_loss < 1:
        raise ValueError(f"the largest accepted loss is {max_loss:g}; choose one from 0 to 1.")
    if save not in ("memory", "kv", "speed"):
        raise ValueError(f"save is {save!r}; choose memory, kv or speed.")
    judged = [_judged(candidate, max_loss, len(candidates)) for candidate in candidates]
    return sorted(
        judged,
        key=lambda each: (
            VERDICTS.index(each.verdict),
            needed(each.candidate.cost, save),
            -each.candidate.loss.difference,
            each.candidate.name,
        ),
    )


def needed(cost: Cost, save: str) -> float:
    """What a variant needs of memory, cache or time, as a share of what dense needs."""
    if save == "speed":
        return 1.0 if cost.same_operations else 1 / cost.speed
    return cost.memory if save == "memory" else cost.kv


def saves(cost: Cost, save: str) -> bool:
    """Whether a variant needs less than dense; for speed, whether its interval says so."""
    if save == "speed":
        return not cost.same_operations and cost.speed_low > 1
    return needed(cost, save) < 1


def _judged(candidate: Candidate, max_loss: float, n_candidates: int) -> Judged:
    loss = candidate.loss
    for name in ("low", "difference", "high", "dense_score"):
        finite.checked(getattr(loss, name), f"advice on {candidate.name}: {name}")
    low, high = simultaneous(loss, n_candidates)
    all_skill = max_loss >= loss.dense_score - loss.chance  # nothing is left at the limit
    if not loss.dense_margin_low > 0 or loss.n_items < LEAST_ITEMS or all_skill:
        return Judged(candidate, low, high, "cannot tell", None)
    if low >= -max_loss:
        return Judged(candidate, low, high, "within", None)
    if high < -max_loss:
        return Judged(candidate, low, high, "lost", None)
    n_to_decide = _n_to_decide(loss, max_loss, n_candidates)
    return Judged(candidate, low, high, "undecided", n_to_decide)


def simultaneous(loss: Loss, n_candidates: int) -> tuple[float, float]:
    """The interval of a difference that holds together with those of the other candidates."""
    tail, factor = _widening(n_candidates)
    least = -math.expm1(math.log(tail) / loss.n_items)  # 1 - tail^(1/n)
    below = max(factor * (loss.difference - loss.low), least)
    above = max(factor * (loss.high - loss.difference), least)
    return max(-1.0, loss.difference - below), min(1.0, loss.difference + above)


def _widening(n_candidates: int) -> tuple[float, float]:
    """Probability on each side of a widened interval, and the factor by which it is wider."""
    tail = LEVEL / 2 / n_candidates
    return tail, float(stats.norm.isf(tail) / stats.norm.isf(LEVEL / 2))


def _n_to_decide(loss: Loss, max_loss: float, n_candidates: int) -> int | None:
    """Items for which the interval would end at the limit, if the difference stays as it is.

    Widths shrink with the square root of the number of items; what unchanged items leave open
    shrinks as in `simultaneous`.
    """
    room = loss.difference + max_loss
    if abs(room) < 1e-9:
        return None
    tail, factor = _widening(n_candidates)
    width = factor * (loss.difference - loss.low if room > 0 else loss.high - loss.difference)
    unchanged = math.log(tail) / math.log1p(-min(abs(room), 1 - 1e-9))
    return math.ceil(max(loss.n_items * (width / room) ** 2, unchanged) - 1e-6)
