"""Verdicts on claims: holds, fails, undecided or not tested, with the reason in words.

The claims of one figure and model are one family, whose p-values are corrected together (Holm,
1979). At most one family in twenty has a false verdict, as with Bonferroni's factor, but more
claims are decided.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
from scipy import stats

from prunescope.inference import evidence
from prunescope.inference.claims import Claim
from prunescope.inference.evidence import Evidence
from prunescope.tables.schemas import TABLES

LEVEL = 0.05
"""Largest corrected p-value of a verdict."""

LEARNED = 1.0
"""Nats per token by which a model must predict a text better than a guess does, at the lower end of
a 95 % interval, before what it does says anything about trained models."""

Rows = Sequence[Mapping[str, Any]]


def untrained(surprisals: Rows) -> dict[str, str]:
    """Each model that predicts text hardly better than a guess -> why it is not judged.

    Parameters
    ----------
    surprisals : rows of table `surprisal`.
    """
    reasons = {}
    for row in surprisals:
        gain = row["nats_of_a_guess"] - row["nats_per_token"]
        quantile = stats.t.ppf(1 - LEVEL / 2, row["n_tokens"] - 1)
        if not gain - quantile * row["standard_error"] >= LEARNED:
            reasons[row["model"]] = (
                f"the model looks untrained: it predicts text {gain:.2g} nats a token better than "
                f"a guess, and a trained one more than {LEARNED:.0f}"
            )
    return reasons


def judged(claims: Sequence[tuple[Claim, Rows]], reasons_not_to: Mapping[str, str]) -> pa.Table:
    """Rows of table `claim_verdict` for the claims of one figure.

    Parameters
    ----------
    claims : each claim with the rows of its query, which have `model` and `subject`.
    reasons_not_to : models that are not judged, with the reason.
    """
    found = [
        (claim, model, subject, evidence.of_units(claim.statistic, rows, claim.threshold))
        for claim, of_claim in claims
        for model, subject, rows in _by_subject(of_claim)
    ]
    families: dict[str, list[Evidence]] = {}
    for claim, model, _, each in found:
        if each is not None and _is_tested(claim, each):
            families.setdefault(model, []).append(each)
    corrected = {
        id(each): p_value
        for family in families.values()
        for each, p_value in zip(family, holm([each.p_value for each in family]), strict=True)
    }
    rows = [
        _row(
            claim,
            {"claim": claim.name, "model": model, "subject": subject},
            each,
            (corrected.get(id(each)), len(families.get(model, ()))),
            reasons_not_to.get(model),
        )
        for claim, model, subject, each in found
    ]
    return pa.Table.from_pylist(rows, schema=TABLES["claim_verdict"].schema)


def _by_subject(rows: Rows) -> Iterator[tuple[str, str, Rows]]:
    """Rows of each model and subject, in the order of the query."""
    grouped: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        grouped.setdefault((row["model"], row["subject"]), []).append(row)
    for (model, subject), of_subject in grouped.items():
        yield model, subject, of_subject


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number: the k-th smallest of m is multiplied by m - k + 1.

    A corrected p-value is at least that of every smaller one, and at most 1.
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    corrected, least = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        least = max(least, min(1.0, p_values[place] * (len(p_values) - rank)))
        corrected[place] = least
    return corrected


def _is_tested(claim: Claim, found: Evidence) -> bool:
    return found.n >= claim.least and math.isfinite(found.value)


def _row(
    claim: Claim,
    key: Mapping[str, str],
    found: Evidence | None,
    correction: tuple[float | None, int],
    not_judged: str | None,
) -> dict[str, Any]:
    """One row: the evidence, the verdict and its reason.

    Parameters
    ----------
    claim : the claim.
    key : name of the claim, model and subject.
    found : the evidence, or None if there is none.
    correction : the corrected p-value, if the claim is tested, and the number of tests.
    not_judged : why the model is not judged, if it is not.
    """
    p_corrected, n_tests = (None, 0) if not_judged else correction
    row = {**key, "n_tests": n_tests}
    if found is None:
        reason = not_judged or "dense itself may be guessing, or nothing was measured"
        return {**row, "n": 0, "verdict": "not tested", "reason": reason}
    measured = {name: getattr(found, name) for name in ("value", "low", "high", "p_value")}
    finite = {name: number if math.isfinite(number) else None for name, number in measured.items()}
    if p_corrected is None:
        verdict, reason = "not tested", not_judged or _too_little(claim, found)
    elif p_corrected >= LEVEL:
        verdict, reason = "undecided", f"p = {p_corrected:.2g}, corrected for {n_tests} tests"
    else:
        is_above = found.value > claim.threshold
        verdict, reason = ("holds" if is_above == (claim.expected == "above") else "fails"), ""
    needed = units_to_decide(claim, found, n_tests) if verdict == "undecided" else None
    judged = {"n": found.n, "verdict": verdict, "reason": reason, "n_to_decide": needed}
    return {**row, **finite, "p_corrected": p_corrected, **judged}


def _too_little(claim: Claim, found: Evidence) -> str:
    """Why a claim is not tested."""
    if not math.isfinite(found.value):
        return f"all {found.n} {claim.unit}s have the same value"
    return f"{found.n} {claim.unit}s are fewer than {claim.least}"


def units_to_decide(claim: Claim, found: Evidence, n_tests: int) -> int | None:
    """About how many units would decide the claim if the statistic stayed as it is.

    The interval shrinks with the root of the number of units. None where the statistic is at the
    threshold, or there is no interval.

    Parameters
    ----------
    claim : the claim, with its threshold.
    found : the statistic with its interval and its number of units.
    n_tests : number of tests among which the p-value is corrected.
    """
    distance = abs(found.value - claim.threshold)
    reach = found.value - found.low if found.value > claim.threshold else found.high - found.value
    if not distance or not math.isfinite(reach):
        return None
    quantile = stats.norm.ppf([1 - LEVEL / 2 / max(1, n_tests), 1 - LEVEL / 2])
    needed = found.n * (reach / distance * quantile[0] / quantile[1]) ** 2
    return max(found.n + 1, math.ceil(needed)) if needed < 1e6 else None
