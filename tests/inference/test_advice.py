"""Advice on made-up variants whose right answer is known."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from prunescope import finite
from prunescope.inference import advice
from prunescope.inference.advice import Candidate, Cost, Loss
from prunescope.report import advice_text

COST = Cost(memory=0.5, kv=0.5, speed=2.0, speed_low=1.8, speed_high=2.2, same_operations=False)


def loss(difference, half, n=1000, margin=0.3):
    return Loss(
        n, 0.8, 0.8 + difference, 0.25, difference - half, difference, difference + half, margin
    )


def made(name, difference=0.0, half=0.01, cost=COST, **settings):
    return Candidate(name, f"drop {name}", loss(difference, half, **settings), cost)


def verdicts(*candidates, max_loss=0.05, save="memory"):
    return {each.candidate.name: each.verdict for each in advice.advise(candidates, max_loss, save)}


def said(*candidates, max_loss=0.05, save="memory"):
    judged = advice.advise(candidates, max_loss, save)
    return advice_text.text(
        judged, model="m", task="generation", tasks="t", max_loss=max_loss, save=save
    )


def test_a_variant_is_within_lost_or_undecided_by_where_its_interval_lies():
    found = verdicts(made("good", -0.01), made("bad", -0.2), made("open", -0.04))
    assert found == {"good": "within", "open": "undecided", "bad": "lost"}


def test_the_interval_that_holds_the_limit_is_never_recommended():
    text = said(made("open", -0.04, half=0.02))
    assert "No variant is shown to stay within the loss" in text
    assert "Take" not in text


def test_looking_at_more_variants_widens_the_intervals():
    """One variant's interval is its own; with forty, its ends are 1.66 times as far."""
    alone, of_forty = (advice.simultaneous(loss(0.0, 0.03), n) for n in (1, 40))
    assert alone == pytest.approx((-0.03, 0.03))
    factor = stats.norm.ppf(1 - 0.025 / 40) / stats.norm.ppf(0.975)
    assert of_forty == pytest.approx((-0.03 * factor, 0.03 * factor))
    assert verdicts(made("a", half=0.04)) == {"a": "within"}
    many = [made(f"v{i:02}", half=0.04) for i in range(40)]
    assert set(verdicts(*many).values()) == {"undecided"}


def test_of_twenty_variants_at_the_limit_one_is_wrongly_within_in_at_most_5_percent():
    """Simulated: every true loss is the limit; intervals are exact ones of a normal mean."""
    rng, trials, wrong = np.random.default_rng(5), 400, 0
    error = 0.01
    for _ in range(trials):
        seen = rng.normal(-0.05, error, 20)
        candidates = [made(f"v{i}", x, half=1.96 * error) for i, x in enumerate(seen)]
        wrong += "within" in verdicts(*candidates).values()
    assert wrong / trials <= stats.binom.ppf(0.999, trials, 0.05) / trials


def test_items_none_of_which_changed_still_leave_room():
    """30 unchanged items: 1 - 0.025^(1/30) = 11.6 % could get worse (Clopper & Pearson)."""
    low, high = advice.simultaneous(loss(0.0, 0.0, n=30), 1)
    exact = stats.beta.ppf(0.975, 1, 30)
    assert (low, high) == pytest.approx((-exact, exact))
    judged = advice.advise([made("same", half=0.0, n=30)], 0.05, "memory")[0]
    assert judged.verdict == "undecided"
    assert (
        1 - 0.025 ** (1 / judged.n_to_decide) <= 0.05 < 1 - 0.025 ** (1 / (judged.n_to_decide - 1))
    )


def test_four_times_the_items_halve_the_interval():
    judged = advice.advise([made("open", -0.03, half=0.04, n=1000)], 0.05, "memory")[0]
    assert judged.n_to_decide == 4000
    settled = advice.advise([made("open", -0.03, half=0.0199, n=4000)], 0.05, "memory")[0]
    assert settled.verdict == "within"


def test_no_number_of_items_settles_a_loss_at_the_limit():
    assert advice.advise([made("on", -0.05)], 0.05, "memory")[0].n_to_decide is None


@pytest.mark.parametrize("margin", [0.0, -0.1, math.nan])
def test_a_task_on_which_dense_guesses_cannot_tell(margin):
    text = said(made("a", margin=margin))
    assert "These tasks cannot tell: dense scores 0.800, a guess 0.250" in text
    assert "Take" not in text


def test_a_loss_of_all_that_dense_has_above_chance_is_no_limit():
    """Dense scores 0.80 and a guess 0.25: 55 points are all there is to lose."""
    text = said(made("a", -0.55), max_loss=0.55)
    assert "dense scores only 55.0 points more than a guess" in text
    assert "Take" not in text
    assert verdicts(made("a", -0.1), max_loss=0.54) == {"a": "within"}


def test_too_few_items_cannot_tell():
    assert "29 items are fewer than 30" in said(made("a", n=29))


@pytest.mark.parametrize(
    ("save", "first"), [("memory", "small"), ("kv", "short"), ("speed", "quick")]
)
def test_variants_are_ranked_by_what_is_to_be_saved(save, first):
    costs = {
        "small": dataclasses.replace(COST, memory=0.1),
        "short": dataclasses.replace(COST, kv=0.1),
        "quick": dataclasses.replace(COST, speed=9.0, speed_low=8.0, speed_high=10.0),
    }
    candidates = [made(name, cost=cost) for name, cost in costs.items()]
    assert f"Take {first}: drop {first}." in said(*candidates, save=save)


def test_what_saves_nothing_is_not_recommended():
    same = dataclasses.replace(COST, kv=1.0, speed=3.0, speed_low=2.9, same_operations=True)
    unsure = dataclasses.replace(COST, speed=1.1, speed_low=0.9)
    assert "within the loss saves key-value cache" in said(made("a", cost=same), save="kv")
    assert "within the loss saves time" in said(made("a", cost=same), save="speed")
    assert "within the loss saves time" in said(made("a", cost=unsure), save="speed")


def test_numbers_that_are_not_finite_are_refused():
    with pytest.raises(finite.NotFinite, match="advice on a"):
        verdicts(made("a", difference=math.nan))


@pytest.mark.parametrize(("max_loss", "save"), [(0, "kv"), (1, "kv"), (math.nan, "kv"), (0.1, "x")])
def test_questions_that_make_no_sense_are_refused(max_loss, save):
    with pytest.raises(ValueError, match="choose"):
        verdicts(made("a"), max_loss=max_loss, save=save)
