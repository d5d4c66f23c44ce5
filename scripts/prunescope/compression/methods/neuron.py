"""Structured pruning of MLPs: whole intermediate neurons leave, and their compute with them.

A neuron's importance is the size of its contribution to the MLP's output, summed over tokens: a
structured reading of Wanda's |W| ‖x‖ (Sun et al. 2024), in the manner of LLM-Pruner (Ma et al.
2023), of which it takes the neuron as a coupled structure of gate, up and down.
"""

from typing import Any

import pyarrow as pa
import torch

from prunescope.compression import masks
from prunescope.compression.blockwise import BlockWalk, Calibration, ColumnNorms
from prunescope.model.anatomy import anatomy_of
from prunescope.model.edits import Edit
from prunescope.model.replacements import Columns, Rows


def compress(model: Any, calibration: Calibration, *, sparsity: float) -> tuple[Edit, pa.Table]:
    """Remove the floor(s d_ff) neurons of least ‖x_j‖₂ ‖W_down[:, j]‖₂ from every MLP.

    x is the input of down_proj, (tokens, d_ff). Neuron j is row j of gate and up (of both halves
    where they are one linear) and column j of down; a bias of gate or up goes with its row.

    Parameters
    ----------
    sparsity : share of each MLP's intermediate neurons that leave.
    """
    body = anatomy_of(model)
    walk = BlockWalk(model, calibration, ColumnNorms)
    for block in walk:
        down = block.linear(body.mlp_out)
        norms = block.group_of(body.mlp_out).inputs.norms()
        importance = norms * torch.linalg.vector_norm(down.weight.float(), dim=0)
        neurons = len(importance)
        n_kept = masks.n_kept(neurons, sparsity)
        if n_kept == 0:
            raise ValueError(
                f"sparsity {sparsity} leaves none of the {neurons} neurons of an MLP. Choose a "
                "smaller one, or drop the MLP with `sublayer_drop`."
            )
        keep = masks.keep_n_of_m(importance, n_kept, neurons)
        mean = float(importance.mean())
        for name in block.names_under(body.mlp):
            into = block.linear(name)
            if name != body.mlp_out:
                rows = Rows.by(keep.repeat(len(into.weight) // neurons))
                block.replace(into, rows, mean)
                block.replace_bias(into, rows)
        block.replace(down, Columns.by(keep), mean)
    return walk.result("neuron")
