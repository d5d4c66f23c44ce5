"""The notebook docs/tour.ipynb can be executed and contains no outputs."""

import json
import sys
from typing import Any

import pytest
import vl_convert

from tiny_run import ROOT

CELLS = json.loads((ROOT / "docs/tour.ipynb").read_text(encoding="utf-8"))["cells"]
CODE = [cell for cell in CELLS if cell["cell_type"] == "code"]

pytestmark = pytest.mark.filterwarnings("error:prunescope:FutureWarning")  # a path of release 0.1


def test_the_notebook_contains_no_outputs() -> None:
    """They would be outdated after the next change, and their diffs unreadable."""
    assert not [cell for cell in CODE if cell["outputs"] or cell["execution_count"]]


@pytest.fixture(scope="module")
def toured() -> dict[str, Any]:
    """What the names of the notebook stand for after its last cell, on the tiny random model."""
    names: dict[str, Any] = {"__name__": "__main__"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT / "docs")
        patch.setattr(sys, "path", [*sys.path])
        patch.delenv("PRUNESCOPE_TOUR_MODEL", raising=False)
        for number, cell in enumerate(CODE):
            exec(compile("".join(cell["source"]), f"tour.ipynb, code cell {number}", "exec"), names)
    return names


@pytest.mark.parametrize("figure", ["figure_4", "figure_13"])
def test_its_figures_show_every_block_in_three_spaces(toured: dict[str, Any], figure: str) -> None:
    """Vega renders them."""
    specification = toured[figure].to_dict()
    (rows,) = specification["datasets"].values()
    shown = {(row["sublayer"], row["block"], row["space"]) for row in rows}
    assert len(shown) == len(rows) == 2 * 3 * 3
    assert vl_convert.vegalite_to_svg(specification).startswith("<svg")


def test_dropping_a_sublayer_changes_more_than_pruning_it(toured: dict[str, Any]) -> None:
    """So the two traces are of the edits that the text names."""
    means = [
        sum(row["mean"] for row in toured["similarity"](toured[trace]).to_pylist())
        for trace in ("dropped_trace", "pruned_trace")
    ]
    assert means[0] < means[1]
