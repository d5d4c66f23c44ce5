"""Claims of the paper and our own, as reports/claims.yaml states them before a run is seen."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict

from prunescope.paths import REPORTS

CLAIMS = REPORTS / "claims.yaml"
"""The file of the claims."""

QUERIES = REPORTS / "claims"
"""The folder of their queries."""

Statistic = Literal["median", "share", "mean", "rank_correlation", "given"]
"""How units are summed up (`evidence`); `given`: the query returns values with intervals."""


class Claim(BaseModel):
    """One claim, which holds if a statistic lies on the expected side of a threshold.

    Attributes
    ----------
    name : names the claim in table `claim_verdict`.
    figure : stem of the figure whose tables it is judged by.
    statement : the claim as a sentence.
    source : place in the paper; empty for a claim of our own.
    query : stem of the query in reports/claims/, which returns one row per unit.
    settings : values of the query's `$named` parameters that its figure does not set.
    measure : what the statistic is, as a noun phrase.
    statistic : how the values of the units are summed up.
    unit : what is resampled: prompt, item, query, variant, block or linear.
    threshold : the value that divides both sides.
    expected : the side on which the claim holds.
    least : smallest number of units with which the claim is judged.
    form : `percent`, or a Python format such as `{:.2f} nats`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    figure: str
    statement: str
    source: str = ""
    query: str
    settings: dict[str, Any] = {}
    measure: str
    statistic: Statistic
    unit: str
    threshold: float
    expected: Literal["above", "below"]
    least: int
    form: str

    @property
    def query_file(self) -> Path:
        """The SQL file of the query."""
        return QUERIES / f"{self.query}.sql"

    def written(self, value: float) -> str:
        """A value of the statistic in the claim's form."""
        if self.form == "percent":
            return f"{100 * value:.3g} %".replace("-", "−")
        return self.form.format(value).replace("-", "−")


@functools.cache
def read_all() -> tuple[Claim, ...]:
    """Every claim, in the order of the file."""
    return tuple(Claim(**entry) for entry in yaml.safe_load(CLAIMS.read_text(encoding="utf-8")))


def of_figure(figure: str) -> Sequence[Claim]:
    """The claims that are judged by a figure's tables."""
    return [claim for claim in read_all() if claim.figure == figure]
