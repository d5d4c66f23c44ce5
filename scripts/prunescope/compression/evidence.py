"""What a compression method reads, by the name its `compress` gives it.

Imported by name where a method asks for weights: a drop is a lookup that imports no torch, and its
fingerprint holds no code that runs models.
"""

import resource
from collections.abc import Mapping
from typing import Any

import torch

from prunescope.compression.blockwise import Calibration
from prunescope.compression.passes import ForwardPasses
from prunescope.machine import runtime
from prunescope.model import loading
from prunescope.storage import store


def load(files: Mapping[str, str], passes: ForwardPasses) -> dict[str, Any]:
    """The dense model, on the cpu, and the calibration text with where and how it flows.

    Parameters
    ----------
    files : `model`, a folder, and `calibration`, a table.
    passes : how the text flows.
    """
    device = runtime.prepare(passes.threads)
    rows = store.read(files["calibration"], "calibration").column("token_ids").to_pylist()
    flows_in = None if passes.forward == "model" else loading.DTYPES[passes.forward]
    model = loading.load(files["model"], passes.dtype, torch.device("cpu"), passes.kind)
    return {
        "model": model,
        "calibration": Calibration(torch.tensor(rows), device, flows_in),
    }


def peak_memory_mb() -> float:
    """Largest resident set of this process so far, GPU memory added, in MB."""
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return resident + (
        torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else 0
    )
