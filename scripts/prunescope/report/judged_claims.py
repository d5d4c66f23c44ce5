"""Claims and their verdicts as the page shows them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prunescope.inference.claims import Claim

VERDICTS = ("holds", "fails", "undecided", "not tested")
"""The verdicts, in the order in which they are counted."""


@dataclass(frozen=True)
class Line:
    """What was found for one model and subject: the evidence in words, and the verdict."""

    about: str
    evidence: str
    verdict: str


@dataclass(frozen=True)
class JudgedClaim:
    """A claim with what was found for each model and subject."""

    claim: Claim
    lines: Sequence[Line]

    @property
    def counts(self) -> list[tuple[str, int]]:
        """Each verdict that was found, and how often."""
        found = Counter(line.verdict for line in self.lines)
        return [(verdict, found[verdict]) for verdict in VERDICTS if found[verdict]]


def judged(claims: Iterable[Claim], rows: Sequence[Mapping[str, Any]]) -> list[JudgedClaim]:
    """The claims that were judged.

    Parameters
    ----------
    claims : all claims, in the order in which they are shown.
    rows : rows of table `claim_verdict`.
    """
    usual = main_model(rows)
    found = []
    for claim in claims:
        of_claim = [row for row in rows if row["claim"] == claim.name]
        names_model = {row["model"] for row in of_claim} != {usual}
        if of_claim:
            lines = [_line(claim, row, names_model) for row in of_claim]
            found.append(JudgedClaim(claim, lines))
    return found


def main_model(rows: Sequence[Mapping[str, Any]]) -> str:
    """The model about which claims are, unless they name another."""
    return str(Counter(row["model"] for row in rows).most_common(1)[0][0]) if rows else ""


def _line(claim: Claim, row: Mapping[str, Any], names_model: bool) -> Line:
    about = [row["model"] if names_model else "", row["subject"]]
    return Line(": ".join(filter(None, about)), _evidence(claim, row), row["verdict"])


def _evidence(claim: Claim, row: Mapping[str, Any]) -> str:
    """Value, interval and number of units, and what is missing for a verdict."""
    said = []
    if row["value"] is not None:
        said.append(claim.written(row["value"]))
        ends = [row["low"], row["high"]]
        interval = f"{' to '.join(map(claim.written, ends))}, " if None not in ends else _p(row)
        said.append(f"({interval}{_counted(row['n'], claim.unit)})")
    if row["reason"]:
        said.append(("· " if said else "") + row["reason"])
    if row["n_to_decide"] is not None:
        said.append(f"· about {_counted(row['n_to_decide'], claim.unit)} would decide")
    return " ".join(said)


def _p(row: Mapping[str, Any]) -> str:
    """The p-value of a claim that is judged without an interval."""
    p_value = row.get("p_corrected") if row["verdict"] in ("holds", "fails") else None
    return "" if p_value is None else f"p = {p_value:.2g}, "


def _counted(number: int, unit: str) -> str:
    plural = f"{unit[:-1]}ies" if unit.endswith("y") else f"{unit}s"
    return f"{number:,} {unit if number == 1 else plural}"
