"""Table `deviation` has the measured and the estimated value of every traced row."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from prunescope.model import edits
from prunescope.theory.deviations import deviations
from tiny import tiny_model
from trace_inputs import SETTINGS, TEMPERATURES, answer_of
from trace_sublayers import trace_prompts


@pytest.fixture(scope="module")
def tables():
    """Tables of trace, shift and deviation of all sublayers of a tiny model."""
    model = tiny_model("llama")
    edit = edits.Edit(dropped={"attn": (0, 1, 2), "mlp": (0, 1, 2)})
    (rows,) = trace_prompts(model, edit, [answer_of(model)], SETTINGS)
    return *rows, pa.concat_tables(deviations(*rows, "deviation"))


def test_every_traced_row_is_estimated(tables):
    """Each key has angular deviations in three spaces, three orders of KL, and its bound."""
    deviation = tables[2]
    keys = 5 * 6
    assert deviation.num_rows == keys * 2 + keys * len(TEMPERATURES) * 5
    grain = ["prompt", "step", "block", "sublayer", "temperature", "space", "quantity", "order"]
    assert deviation.group_by(grain).aggregate([]).num_rows == deviation.num_rows


def test_estimates_are_joined_with_their_measurements_by_key(tables):
    """Each order of KL is computed again for each row from the input tables."""
    trace, shift, deviation = tables
    measured = {_key(r): r for r in trace.to_pylist()}
    moments = {_key(r): r for r in shift.to_pylist()}
    for row in deviation.filter(pc.field("quantity") == "kl_divergence").to_pylist():
        key, t = _key(row), row["temperature"]
        m = moments[key]
        estimate = m["var_p"] / (2 * t**2)
        estimate += m["cumulant_3"] / (6 * t**3) if row["order"] >= 3 else 0
        estimate += m["cumulant_4"] / (24 * t**4) if row["order"] >= 4 else 0
        assert row["estimated"] == pytest.approx(estimate, rel=1e-12)
        probability = [r for r in trace.to_pylist() if _key(r) == key]
        assert row["measured"] == probability[-1]["kl_divergence"] == measured[key]["kl_divergence"]


def test_kl_never_exceeds_the_bound(tables):
    """It is below Hoeffding's bound in all rows, for shifts of any size."""
    bound = tables[2].filter(pc.field("quantity") == "kl_bound")
    assert (bound["measured"].to_numpy() <= bound["estimated"].to_numpy()).all()
    assert np.isfinite(bound["estimated"].to_numpy()).all()


def _key(row):
    return row["prompt"], row["step"], row["block"], row["sublayer"], row["temperature"]
