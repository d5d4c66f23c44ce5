"""What loading an exported checkpoint saves, compared with the dense checkpoint loaded alike."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from prunescope.compression.model_card import Cost, Savings, Speedup
from prunescope.tracing import costs


def measure(checkpoints: Mapping[str | Path, Any], token_ids: Tensor) -> Savings:
    """Size, key-value cache and speed of both checkpoints, as transformers runs them.

    Parameters
    ----------
    checkpoints : folder and loaded model of the dense checkpoint, then of the exported one.
    token_ids : (sequence,), the timed prompt.
    """
    dense, exported = checkpoints.values()
    token_ids = token_ids.to(exported.device)
    dense_cost, exported_cost = (
        Cost(
            sum(file.stat().st_size for file in Path(folder).glob("*.safetensors")),
            costs.n_bytes(model),
            costs.cache_bytes_per_token(model, token_ids),
        )
        for folder, model in checkpoints.items()
    )
    prefill, decode = (
        Speedup(speeds.speedup, speeds.low, speeds.high)
        for speeds in costs.speeds(dense, exported, token_ids)
    )
    cuda = exported.device.type == "cuda"
    device = torch.cuda.get_device_name(exported.device) if cuda else "CPU"
    return Savings(dense_cost, exported_cost, prefill, decode, device, torch.get_num_threads())
