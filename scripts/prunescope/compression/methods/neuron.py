"""Structured pruning of MLPs: whole intermediate neurons are removed, which also saves compute.

The importance of a neuron is the norm of its contribution to the output of the MLP over all tokens.
This is a structured form of Wanda's importance |W| ‖x‖ (Sun et al. 2024). As in LLM-Pruner (Ma et
al. 2023), a neuron is a coupled structure of rows of gate and up and a column of down.
"""

from typing import Any

import pyarrow as pa
import torch

from prunescope.compression import masks
from prunescope.compression.blockwise import BlockWalk, Calibration, ColumnNorms
from prunescope.model.anatomy import anatomy_of
from prunescope.model.edits import Edit
from prunescope.model.replacements import KeptColumns, KeptRows


def compress(model: Any, calibration: Calibration, *, sparsity: float) -> tuple[Edit, pa.Table]:
    """Remove the floor(s d_ff) neurons with the least ‖x_j‖₂ ‖W_down[:, j]‖₂ from every MLP.

    x is the input of down_proj, (tokens, d_ff). Neuron j consists of row j of gate and of up (of
    both halves of the weight if the two are a single linear), of the elements of their biases, and
    of column j of down.

    Parameters
    ----------
    model : the dense model.
    calibration : the calibration text.
    sparsity : s, the share of the neurons of each MLP that are removed.
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
            linear = block.linear(name)
            if name != body.mlp_out:
                rows = KeptRows.by(keep.repeat(len(linear.weight) // neurons))
                block.replace(linear, rows, mean)
                block.replace_bias(linear, rows)
        block.replace(down, KeptColumns.by(keep), mean)
    return walk.result("neuron")
