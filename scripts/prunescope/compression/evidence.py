"""What a compression method reads, by the name its `compress` gives it.

Imported by name where a method asks for weights: a drop is a lookup that imports no torch, and its
fingerprint holds no code that runs models.
"""

import resource
from collections.abc import Mapping
from typing import Any

import torch

from prunescope.compression.blockwise import Calibration
from prunescope.machine import runtime
from prunescope.model import loading
from prunescope.storage import store


def load(
    files: Mapping[str, str], dtype: str, kind: str, forward_dtype: str, threads: int
) -> dict[str, Any]:
    """The dense model, on the cpu, and the calibration text with where and how it flows.

    Parameters
    ----------
    files : `model`, a folder, and `calibration`, a table.
    dtype : of the model's weights. kind : a key of `models.KINDS`.
    forward_dtype : of calibration passes; `model` for the same.
    """
    device = runtime.prepare(threads)
    rows = store.read(files["calibration"], "calibration").column("token_ids").to_pylist()
    flows_in = None if forward_dtype == "model" else loading.DTYPES[forward_dtype]
    return {
        "model": loading.load(files["model"], dtype, torch.device("cpu"), kind),
        "calibration": Calibration(torch.tensor(rows), device, flows_in),
    }


def peak_memory_mb() -> float:
    """Largest resident set of this process so far, GPU memory added, in MB."""
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return resident + (
        torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else 0
    )
