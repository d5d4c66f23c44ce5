"""How well numbers that need no labels order variants by the score that they lose."""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from scipy import stats

from prunescope.inference import evidence
from prunescope.inference.evidence import Floats
from prunescope.tables.schemas import TABLES


def of_losses(pairs: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows of table `loss_correlation`.

    Parameters
    ----------
    pairs : one row per (predictor, family, variant): the value of the predictor, `size`, and the
        share of dense's score above chance that is `lost`, or None if dense may guess.
    """
    grouped: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for pair in pairs:
        grouped.setdefault((pair["predictor"], pair["family"]), []).append(pair)
    rows = []
    for (predictor, family), each in sorted(grouped.items()):
        known = [pair for pair in each if pair["lost"] is not None]
        units = [{"measured": pair["size"], "beside": pair["lost"]} for pair in known]
        found = evidence.of_units("rank_correlation", units, 0.0)
        row = {"predictor": predictor, "family": family, "n_variants": len(known)}
        if found is not None and math.isfinite(found.value):
            ends = {"low": found.low, "high": found.high}
            row |= {name: end for name, end in ends.items() if math.isfinite(end)}
            row |= {"correlation": found.value, "p_value": found.p_value}
        if len(known) > 1:
            sizes, losses = (np.array([pair[name] for pair in known]) for name in ("size", "lost"))
            row |= choices(sizes, losses)._asdict()
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=TABLES["loss_correlation"].schema)


class Choices(NamedTuple):
    """What it costs to choose between two variants by a predictor, as columns of the table.

    Attributes
    ----------
    regret : what the variant with the smaller predictor loses more than the better of the two, the
        mean over all pairs of variants.
    coin_regret : the same if a coin chooses.
    ratio_low, ratio_high : 95 % interval of regret / coin_regret, bootstrap over variants (BCa), or
        None if there is none. 0 is always the better choice, 1 as good as a coin, 2 always the
        worse choice.
    """

    regret: float
    coin_regret: float
    ratio_low: float | None
    ratio_high: float | None


def choices(sizes: Floats, lost: Floats) -> Choices:
    """The regret of choosing the variant with the smaller predictor, for all pairs of variants.

    Parameters
    ----------
    sizes : the predictor of each variant, (variants,).
    lost : what each variant loses, (variants,).
    """
    regret, coin = (float(each) for each in _regrets(sizes, lost))
    low = high = None
    if coin > 0 and len(lost) > 2:
        with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # then without interval
            found = stats.bootstrap(
                (sizes, lost),
                lambda s, t, axis: np.divide(*_regrets(s, t)),
                n_resamples=evidence.RESAMPLES,
                paired=True,
                vectorized=True,
                rng=np.random.default_rng(0),
            ).confidence_interval
        if math.isfinite(found.low) and math.isfinite(found.high):
            low, high = float(found.low), float(found.high)
    return Choices(regret, coin, low, high)


def _regrets(sizes: Floats, lost: Floats) -> tuple[Floats, Floats]:
    """Regret of a predictor and of a coin, (…,), from (…, variants).

    A predictor that is equal for two variants chooses like a coin. Pairs of a variant with itself,
    as bootstrap samples have them, cost nothing in either.
    """
    more_lost = lost[..., :, None] - lost[..., None, :]
    prefers = np.sign(sizes[..., None, :] - sizes[..., :, None])  # 1 if the first is chosen
    n_pairs = lost.shape[-1] * (lost.shape[-1] - 1)
    by_predictor = (np.abs(more_lost) + prefers * more_lost) / 2
    total = np.abs(more_lost).sum((-2, -1)) / 2
    return by_predictor.sum((-2, -1)) / n_pairs, total / n_pairs
