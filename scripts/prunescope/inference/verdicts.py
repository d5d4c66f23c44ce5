"""Verdicts on claims: holds, fails, undecided or not tested, with the reason in words.

The claims of one figure are one family: each p-value is multiplied by the number of tests made for
this figure and model (Bonferroni), so that at most one family in twenty has a false verdict.
"""

import math
from collections import Counter
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
    tests = Counter(model for claim, model, _, each in found if _is_tested(claim, each))
    rows = [
        _row(claim, model, subject, each, tests[model], reasons_not_to.get(model))
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


def _is_tested(claim: Claim, found: Evidence | None) -> bool:
    return found is not None and found.n >= claim.least and math.isfinite(found.value)


def _row(
    claim: Claim,
    model: str,
    subject: str,
    found: Evidence | None,
    n_tests: int,
    not_judged: str | None,
) -> dict[str, Any]:
    """One row: the evidence, the verdict and its reason."""
    row = {"claim": claim.name, "model": model, "subject": subject, "n_tests": n_tests}
    if found is None:
        reason = not_judged or "dense itself may be guessing, or nothing was measured"
        return {**row, "n": 0, "verdict": "not tested", "reason": reason}
    measured = {
        name: number if math.isfinite(number) else None
        for name in ("value", "low", "high", "p_value")
        if (number := getattr(found, name)) is not None
    }
    verdict, reason = _verdict(claim, found, n_tests, not_judged)
    needed = units_to_decide(claim, found, n_tests) if verdict == "undecided" else None
    judged = {"n": found.n, "verdict": verdict, "reason": reason, "n_to_decide": needed}
    return {**row, **measured, **judged}


def _verdict(
    claim: Claim, found: Evidence, n_tests: int, not_judged: str | None
) -> tuple[str, str]:
    """The verdict, and why there is none."""
    if not_judged:
        return "not tested", not_judged
    if not math.isfinite(found.value):
        return "not tested", f"all {found.n} {claim.unit}s have the same value"
    if found.n < claim.least:
        return "not tested", f"{found.n} {claim.unit}s are fewer than {claim.least}"
    if found.p_value * n_tests >= LEVEL:
        return "undecided", f"p = {min(1.0, found.p_value * n_tests):.2g}, corrected for {n_tests}"
    is_above = found.value > claim.threshold
    return ("holds" if is_above == (claim.expected == "above") else "fails"), ""


def units_to_decide(claim: Claim, found: Evidence, n_tests: int) -> int | None:
    """About how many units would decide the claim if the statistic stayed as it is.

    The interval shrinks with the root of the number of units. None where the statistic is at the
    threshold, or there is no interval.
    """
    distance = abs(found.value - claim.threshold)
    reach = found.value - found.low if found.value > claim.threshold else found.high - found.value
    if not distance or not math.isfinite(reach):
        return None
    quantile = stats.norm.ppf([1 - LEVEL / 2 / max(1, n_tests), 1 - LEVEL / 2])
    needed = found.n * (reach / distance * quantile[0] / quantile[1]) ** 2
    return max(found.n + 1, math.ceil(needed)) if needed < 1e6 else None
