"""What the machine computes fastest, found without importing torch: plans are made often."""

import importlib.metadata
import os
from pathlib import Path

FAST_BFLOAT16 = ("amx_bf16",)
"""Features of a processor with which products in bfloat16 are faster than in float32."""


def has_gpu() -> bool:
    """Whether jobs on this machine will find a GPU that the installed torch can use."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    for_cpus = importlib.metadata.version("torch").endswith("+cpu")
    return not hidden and not for_cpus and Path("/proc/driver/nvidia/gpus").is_dir()


def computes_bfloat16(cpuinfo: str | Path = "/proc/cpuinfo") -> bool:
    """Whether this processor has instructions for products in bfloat16.

    Without them torch converts bfloat16 to float32 and back, which is slower than float32 alone.

    Parameters
    ----------
    cpuinfo : the file in which the kernel lists the features of the processor.
    """
    file = Path(cpuinfo)
    features = file.read_text(encoding="utf-8").split() if file.is_file() else []
    return any(feature in features for feature in FAST_BFLOAT16)
