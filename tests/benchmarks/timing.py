"""How the benchmarks time a call."""

import time
from collections.abc import Callable
from typing import Any

import torch


def best(run: Callable[[], Any], repeat: int = 3) -> float:
    """Seconds of the fastest of a few runs: the others were disturbed."""
    seconds = []
    with torch.inference_mode():
        for _ in range(repeat):
            began = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - began)
    return min(seconds)
