"""Products of SmolLM2's shapes in torch's usual way and in ours, float32, one thread.

Linears: GFLOP/s by the rows multiplied at once: one is a decoding step of one text, 16 one of a
batch, 512 a passage. Weights take turns, more than a cache holds, as a model's do. Attention of a
passage: milliseconds by its length.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from timing import best, line, qkv_of, torch_attention
from torch import Tensor, nn

from prunescope.machine import attention, products, runtime
from prunescope.model import anatomy, loading
from smollm2 import model_dir

ROWS = (1, 16, 512)
LENGTHS = (128, 256, 512, 1024)


@torch.inference_mode()
def main() -> None:
    """Measure, then print the table."""
    runtime.prepare(threads=1)
    model = loading.load(model_dir(), "float32", torch.device("cpu"))
    body, blocks = anatomy.anatomy_of(model), anatomy.blocks_of(model)
    weights = {
        name: [block.get_submodule(name).weight for block in blocks]
        for name in (body.attn_out, body.mlp_out)
    }
    weights["lm_head"] = [anatomy.lm_head_of(model).weight]
    for name, plain in weights.items():
        in_order = [products.ordered(weight) for weight in plain]
        for rows in ROWS:
            x = torch.randn(rows, plain[0].shape[1])
            flop = 2 * rows * sum(weight.numel() for weight in plain)
            own = flop / best(functools.partial(multiply, nn.functional.linear, x, plain))
            asked = flop / best(functools.partial(multiply, products.linear, x, plain))
            ordered = flop / best(functools.partial(multiply, products.linear, x, in_order))
            line(f"{name}, rows {rows}: torch's own, GFLOP/s", own / 1e9, "")
            line("  oneDNN / torch's own", asked / own, "")
            line("  oneDNN, weights in order / torch's own", ordered / own, "")
    for length in LENGTHS:
        qkv = qkv_of(model.config, 1, length)
        usual, parts = (
            functools.partial(attend, *qkv, None)
            for attend in (torch_attention, attention.causal_attention)
        )
        own = best(usual, repeat=20)
        line(f"causal attention, {length} positions: torch's own, ms", own * 1e3, "")
        line("  a few queries at a time / torch's own", best(parts, repeat=20) / own, "")


def multiply(linear: Callable[[Tensor, Tensor], Any], x: Tensor, weights: Sequence[Tensor]) -> None:
    """The same rows by every weight."""
    for weight in weights:
        linear(x, weight)


if __name__ == "__main__":
    main()
