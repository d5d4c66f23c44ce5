"""Verdicts: by hand, corrected for their number, and none on a model that knows nothing."""

import math

import numpy as np
import pytest

from prunescope.inference import claims, verdicts
from prunescope.inference.claims import Claim


def claim(**changed):
    fields = {
        "name": "c",
        "figure": "f",
        "statement": "It is so.",
        "query": "q",
        "measure": "share",
        "statistic": "median",
        "unit": "prompt",
        "threshold": 0.5,
        "expected": "above",
        "least": 8,
        "form": "percent",
    }
    return Claim(**fields | changed)


def units(values, subject="", model="m"):
    return [
        {"model": model, "subject": subject, "unit": str(k), "measured": v}
        for k, v in enumerate(values)
    ]


ABOVE, BELOW = np.linspace(0.6, 0.9, 12), np.linspace(0.1, 0.4, 12)
AROUND = np.linspace(0.3, 0.8, 12)


def judged(*pairs, reasons=None):
    return verdicts.judged(pairs, reasons or {}).to_pylist()


@pytest.mark.parametrize(
    ("values", "expected", "verdict"),
    [
        (ABOVE, "above", "holds"),
        (BELOW, "above", "fails"),
        (ABOVE, "below", "fails"),
        (BELOW, "below", "holds"),
        (AROUND, "above", "undecided"),
        (ABOVE[:7], "above", "not tested"),
        ([], "above", None),
    ],
)
def test_a_verdict_needs_enough_units_on_one_side(values, expected, verdict):
    rows = judged((claim(expected=expected), units(values)))
    assert [row["verdict"] for row in rows] == ([verdict] if verdict else [])


def test_verdicts_are_corrected_for_the_tests_of_a_figure():
    """p = 2 / 2^8 counts alone and not among seven; what is not tested is no test."""
    one = units(ABOVE[:8])
    (alone,) = judged((claim(), one))
    assert alone["p_value"] == pytest.approx(2 / 2**8)
    assert alone["verdict"] == "holds"
    many = [row for k in range(7) for row in units(ABOVE[:8], subject=str(k))]
    assert {row["verdict"] for row in judged((claim(), many))} == {"undecided"}
    few = [row for k in range(7) for row in units(ABOVE[:4], subject=str(k))]
    (kept, *untested) = judged((claim(), one), (claim(name="d"), few))
    assert (kept["verdict"], kept["n_tests"]) == ("holds", 1)
    assert {row["verdict"] for row in untested} == {"not tested"}


def test_a_corrected_p_value_is_that_of_holms_procedure():
    """By hand: 0.01 x 4, 0.02 x 3, then no smaller than before, and at most 1."""
    assert verdicts.holm([0.02, 0.01, 0.029, 0.8]) == pytest.approx([0.06, 0.04, 0.06, 0.8])
    assert verdicts.holm([0.6, 0.7]) == [1, 1]
    assert verdicts.holm([]) == []


def test_a_strong_claim_takes_nothing_from_a_weaker_one_but_its_place():
    """p = 2 / 2^8 beside six of 2 / 2^12: Holm decides it, Bonferroni's factor of 7 not."""
    strong = [row for k in range(6) for row in units(ABOVE, subject=str(k))]
    weak = units(ABOVE[:8], subject="weak")
    rows = judged((claim(), strong + weak))
    assert {row["verdict"] for row in rows} == {"holds"}
    assert 7 * rows[-1]["p_value"] > 0.05 > rows[-1]["p_corrected"]


def test_false_verdicts_are_rare_where_nothing_is_there():
    """Twelve prompts, four subjects, the threshold is the median: one family in twenty at most."""
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(300):
        rows = [row for k in range(4) for row in units(rng.random(12), subject=str(k))]
        wrong += any(r["verdict"] in ("holds", "fails") for r in judged((claim(), rows)))
    assert wrong / 300 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 300)


def test_models_are_judged_for_themselves():
    rows = judged((claim(), units(ABOVE) + units(BELOW, model="n")))
    assert [(row["model"], row["verdict"], row["n_tests"]) for row in rows] == [
        ("m", "holds", 1),
        ("n", "fails", 1),
    ]


def test_missing_evidence_is_said():
    given = claim(statistic="given", unit="item", least=30, threshold=0)
    empty = {"n": 40, "measured": None, "low": None, "high": None, "p_value": None}
    (row,) = judged((given, [{"model": "m", "subject": "", **empty}]))
    assert (row["verdict"], row["n"], row["value"]) == ("not tested", 0, None)
    assert "guessing" in row["reason"]


def test_four_times_the_units_decide_what_lies_half_an_interval_away():
    """The interval reaches from 0.4 to 0.6, the threshold is at 0.45: (0.1 / 0.05)² = 4."""
    row = {"model": "m", "subject": "", "n": 50, "measured": 0.5, "low": 0.4, "high": 0.6}
    given = claim(statistic="given", threshold=0.45, least=30)
    (found,) = judged((given, [row | {"p_value": 0.3}]))
    assert (found["verdict"], found["n_to_decide"]) == ("undecided", 200)


def surprisal(gain, error, model="m"):
    return {
        "model": model,
        "n_tokens": 47,
        "nats_per_token": 10 - gain,
        "standard_error": error,
        "nats_of_a_guess": 10.0,
    }


def test_a_model_that_guesses_is_not_judged():
    known = [surprisal(6, 0.5), surprisal(0.01, 0.02, "random"), surprisal(1.2, 0.5, "unsure")]
    reasons = verdicts.untrained(known)
    assert set(reasons) == {"random", "unsure"}
    rows = judged((claim(), units(ABOVE) + units(ABOVE, model="random")), reasons=reasons)
    assert [row["verdict"] for row in rows] == ["holds", "not tested"]
    assert "untrained" in rows[1]["reason"]


def test_nan_is_no_knowledge():
    assert verdicts.untrained([surprisal(math.nan, 0.1)])


@pytest.mark.parametrize(
    ("form", "value", "written"),
    [("percent", 0.51234, "51.2 %"), ("percent", -0.4, "−40 %"), ("{:.2f} nats", 1, "1.00 nats")],
)
def test_values_are_written_in_the_claims_form(form, value, written):
    assert claim(form=form).written(value) == written


def test_claims_have_names_of_their_own():
    names = [each.name for each in claims.read_all()]
    assert len(set(names)) == len(names)
