"""SparseGPT on every linear of SmolLM2, 16 x 512 tokens, float32: the algorithm, and its rivals.

Each linear's mask, weights and output error |(Ŵ - W) X| are held against the algorithm taken column
by column in float64, and its error against that of Wanda's and magnitude's masks, all given the
same inputs: those the linear reads in the model pruned so far. Numbers are printed, not verdicts.
"""

from typing import Any

import torch
from timing import line
from torch import Tensor

import linear_inputs
import paper_sparsegpt
from paper_masks import paper_mask
from prunescope.compression import methods
from prunescope.compression.blockwise import Calibration
from prunescope.machine import runtime
from prunescope.model import anatomy, loading
from smollm2 import model_dir, text_token_ids


def main() -> None:
    """Compare at 50 % and at 2:4, then print the table."""
    runtime.prepare(threads=torch.get_num_threads())
    model = loading.load(model_dir(), "float32", torch.device("cpu"))
    ids = text_token_ids(16, 512)
    for level in ({"sparsity": 0.5}, {"pattern": "2:4"}):
        report(str(level), every_linear(model, ids, level))


def every_linear(model: Any, ids: Tensor, level: dict[str, Any]) -> list[dict[str, float]]:
    """`compared` of all linears, each on what it reads after the edits of earlier blocks."""
    edit, _ = methods.load("sparsegpt")(model, Calibration(ids), **level)
    prefix = anatomy.anatomy_of(model).blocks
    found: list[dict[str, float]] = []

    def look(block: int, inputs: dict[str, Tensor]) -> None:
        factors: dict[int, Tensor] = {}
        for name, x in inputs.items():
            if x.data_ptr() not in factors:  # q, k, v share theirs
                factors[x.data_ptr()] = paper_sparsegpt.factor_of(x)
            full = f"{prefix}.{block}.{name}.weight"
            dense = model.get_parameter(full)
            ours = edit.tensors[full].of(dense)
            found.append(compared(dense, ours, x, factors[x.data_ptr()], level))

    linear_inputs.visit(model, edit, ids, look)
    return found


def compared(
    dense: Tensor, ours: Tensor, x: Tensor, factor: Tensor, level: dict[str, Any]
) -> dict[str, float]:
    """One linear: what differs from the reference, and output errors relative to it."""
    weight, keep = paper_sparsegpt.pruned(dense, factor, **level)
    alike = ((ours != 0) == keep).all(-1)
    rivals = {
        "wanda": dense * paper_mask(dense, x, **level),
        "magnitude": dense * paper_mask(dense, torch.ones_like(x[:1]), **level),
    }
    error = error_of(weight.float() - dense, x)
    moved = (ours - dense)[alike].double()
    right = (weight - dense)[alike]
    return {
        "weights": dense.numel(),
        "bits": int(((ours != 0) != keep).sum()),
        "rows": len(alike),
        "alike": int(alike.sum()),
        "update": float((moved - right).norm() / right.norm()) if len(right) else 0.0,
        "ours": error_of(ours - dense, x) / error,
        **{name: error_of(rival - dense, x) / error for name, rival in rivals.items()},
    }


def error_of(delta: Tensor, x: Tensor) -> float:
    """|Δ X| over all tokens."""
    return float(torch.linalg.vector_norm(x @ delta.T))


def report(level: str, found: list[dict[str, float]]) -> None:
    """One line a quantity, over all linears."""
    column = {name: [row[name] for row in found] for name in found[0]}
    print(f"SparseGPT {level}, {len(found)} linears, against float64 column by column")
    differ = sum(column["bits"]) / sum(column["weights"])
    line("  mask bits that differ, per million", 1e6 * differ, "")
    line("  the same, the linear with most", 1e6 * max(map(_share, found)), "")
    line("  rows with every bit alike, share", sum(column["alike"]) / sum(column["rows"]), "")
    line("  their updates off by, worst linear, per million", 1e6 * max(column["update"]), "")
    above = [1e6 * (ours - 1) for ours in column["ours"]]
    line("  output error above the reference's, most, per million", max(above), "")
    line("  the same, least", min(above), "")
    for rival in ("wanda", "magnitude"):
        behind = [a / b for a, b in zip(column["ours"], column[rival], strict=True)]
        line(f"  output error / {rival}'s, worst linear", max(behind), "< 1")


def _share(row: dict[str, float]) -> float:
    return row["bits"] / row["weights"]


if __name__ == "__main__":
    main()
