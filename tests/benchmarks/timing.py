"""How the benchmarks time a call and print what they found."""

import resource
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from smollm2 import model_dir


def stock_model() -> Any:
    """The embedded model as transformers loads it: plain ways are timed with it."""
    model = AutoModelForCausalLM.from_pretrained(model_dir(), dtype=torch.float32)
    return model.eval().requires_grad_(False)


def qkv_of(config: Any, sequences: int, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """What attention reads: query, (sequences, heads, length, d_head), and key and value."""
    query = torch.randn(sequences, config.num_attention_heads, length, config.head_dim)
    key, value = torch.randn(2, sequences, config.num_key_value_heads, length, config.head_dim)
    return query, key, value


def torch_attention(query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
    """Causal attention by torch's kernel."""
    return nn.functional.scaled_dot_product_attention(
        query, key, value, is_causal=True, scale=scaling, enable_gqa=True
    )


def best(run: Callable[[], Any], repeat: int = 3) -> float:
    """Seconds of the fastest of a few runs: the others were disturbed."""
    seconds = []
    with torch.inference_mode():
        for _ in range(repeat):
            began = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - began)
    return min(seconds)


def line(what: str, value: float, aim: str) -> None:
    """One row of a benchmark's table: the quantity, its value, what the project aims for."""
    print(f"{what:52s}  {value:8.3f}  {aim}")


def peak_mb() -> float:
    """Largest memory this process has held so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
