"""What queries share computes what its name says, against NumPy and the mathematics."""

import math
import random

import duckdb
import numpy as np
import pytest

from prunescope.report.queries import MACROS


@pytest.fixture(scope="module")
def ask():
    """A function that evaluates one expression with every macro there, `$name`s given."""
    with duckdb.connect() as connection:
        connection.execute(MACROS.read_text(encoding="utf-8"))
        yield lambda sql, **values: connection.execute(f"SELECT {sql}", values).fetchone()[0]


def spearman(xs, ys):
    """Correlation of ranks, a rank being the mean place among the sorted numbers."""
    ranks = [[np.flatnonzero(np.sort(zs) == z).mean() for z in zs] for zs in (xs, ys)]
    return np.corrcoef(*ranks)[0, 1]


@pytest.mark.parametrize("size", [8, 12, 16, 100, 128])
def test_draws_are_draws_with_replacement(ask, size):
    """The mean of n drawn from 0..n-1 has the variance (n² - 1)/12n; all draws differ."""
    means = ask(
        "list_transform(range(1000), LAMBDA draw: resampled_mean($numbers, draw))",
        numbers=list(range(size)),
    )
    deviation = math.sqrt(sum((mean - (size - 1) / 2) ** 2 for mean in means) / len(means))
    assert deviation == pytest.approx(math.sqrt((size**2 - 1) / 12 / size), rel=0.1)
    drawn = ask(
        "len(list_distinct(list_transform(range(1000), LAMBDA draw: resampled($numbers, draw))))",
        numbers=list(range(size)),
    )
    assert drawn == 1000


@pytest.mark.parametrize("levels", [3, 1000], ids=["many ties", "few ties"])
def test_rank_correlation_is_the_correlation_of_ranks(ask, levels):
    rng = random.Random(levels)
    xs, ys = ([rng.randrange(levels) / 7 for _ in range(20)] for _ in range(2))
    found = ask("rank_correlation($xs, $ys)", xs=xs, ys=ys)
    assert found == pytest.approx(spearman(xs, ys), abs=1e-12)


def test_rank_correlation_knows_monotone_and_constant(ask):
    xs = [0.1, 3.0, 2.0, 50.0]
    assert ask("rank_correlation($xs, $ys)", xs=xs, ys=[x**3 for x in xs]) == pytest.approx(1)
    assert ask("rank_correlation($xs, $ys)", xs=xs, ys=[-x for x in xs]) == pytest.approx(-1)
    assert ask("rank_correlation($xs, $ys)", xs=xs, ys=[1.0] * 4) is None


def test_bootstrap_interval_is_that_of_paired_draws(ask):
    """Pairs stay pairs: perfect order holds in every draw; other dice bound the rest alike."""
    xs = [float(n) for n in range(12)]
    assert ask("bootstrap_rank_correlation($xs, $ys, 0.025)", xs=xs, ys=xs) == pytest.approx(1)
    rng = random.Random(0)
    ys = [x + rng.gauss(0, 4) for x in xs]
    draws = [rng.choices(range(12), k=12) for _ in range(4000)]
    expected = sorted(spearman([xs[i] for i in d], [ys[i] for i in d]) for d in draws)
    for portion in (0.025, 0.5, 0.975):
        found = ask(f"bootstrap_rank_correlation($xs, $ys, {portion})", xs=xs, ys=ys)
        assert found == pytest.approx(expected[int(portion * 4000)], abs=0.06)
