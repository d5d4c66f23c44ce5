"""Load the dense model and the calibration text for methods that change weights.

`compress_model` imports this module by name, and only if the method reads the model. A method that
drops sublayers needs no more than a table; its job does not import torch, and its fingerprint
contains no code that runs models.
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
    """Load the dense model on the CPU, and the calibration text with the settings of its passes.

    Parameters
    ----------
    files : path of `model`, a folder, and of `calibration`, a table.
    passes : number types and threads of the calibration passes.

    Returns
    -------
    Arguments of `compress` by name, `model` and `calibration`.
    """
    device = runtime.prepare(passes.threads)
    rows = store.read(files["calibration"], "calibration").column("token_ids").to_pylist()
    dtype = None if passes.forward == "model" else loading.DTYPES[passes.forward]
    model = loading.load(files["model"], passes.dtype, torch.device("cpu"), passes.kind)
    return {
        "model": model,
        "calibration": Calibration(torch.tensor(rows), device, dtype),
    }


def peak_memory_mb() -> float:
    """Largest resident set of this process so far, plus its GPU memory, in MB."""
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return resident + (
        torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else 0
    )
