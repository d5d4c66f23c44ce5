"""The sublayer trace against a plain reference and the hardware's limits, in one run.

Prints ratios, not verdicts: one line a quantity, with what the project aims for beside it.
Reference: decode one step at a time with a KV cache and hooks at every sublayer, two lm_head
products of one row for each, and plain torch statistics on them, at one temperature.
"""

import time
from typing import Any

import torch
from timing import best, line, peak_mb, stock_model

from prunescope.compression import influence
from prunescope.machine import products, runtime
from prunescope.measures import comparisons
from prunescope.model import anatomy, capture, edits, loading, prompts, unembedding
from prunescope.tracing import sublayer_traces
from smollm2 import model_dir

STEPS = 32
MEMORY_MB = 512
TEMPERATURES = [0.3, 0.5, 0.7, 1.0, 1.5]


def main() -> None:
    """Measure, then print the table."""
    runtime.prepare(threads=torch.get_num_threads())
    model = loading.load(model_dir(), "float32", torch.device("cpu"))
    tokenizer = loading.load_tokenizer(model_dir())
    ids = prompts.prompt_token_ids(tokenizer, "Explain why the sky is blue, step by step.")
    unembed = unembedding.Unembedding(anatomy.lm_head_of(model))
    n_blocks = len(anatomy.blocks_of(model))
    rows = STEPS * 2 * n_blocks

    tokens = unembed.lm_head.weight[:4096]  # more would time page faults of the result
    ones, in_order = torch.ones(1024, 576), products.ordered(tokens)
    seconds = best(lambda: products.linear(ones, in_order), repeat=5)
    peak = 2 * 1024 * tokens.numel() / seconds
    reference, answer = plain_reference(stock_model(), ids)

    context = torch.tensor(ids + answer[:-1])
    start = len(ids) - 1
    replaced = edits.Edit(tensors={n: p for n, p in model.named_parameters() if "_proj." in n})

    def trace(edit: edits.Edit, temperatures: list[float]) -> None:
        dense, variant = capture.residuals(model, context, start, edit)
        drops = edit.dropped_sublayers(n_blocks)
        sublayer_traces.statistics(dense, variant, drops, unembed, temperatures, MEMORY_MB)

    drop_all = edits.Edit(dropped={"attn": tuple(range(n_blocks)), "mlp": tuple(range(n_blocks))})
    before = peak_mb()
    one = best(lambda: trace(drop_all, [1.0]))
    several = best(lambda: trace(drop_all, TEMPERATURES))
    general = best(lambda: trace(replaced, [1.0]))
    grown = peak_mb() - before
    dense, _ = capture.residuals(model, context, start)
    forward = best(lambda: capture.residuals(model, context, start))
    lm_head = best(lambda: only_products(dense, unembed))
    product_rate = 2 * dense[:, :, 0].numel() * unembed.lm_head.weight.numel() / lm_head
    statistics = one - forward - lm_head
    further = (several - one) / (len(TEMPERATURES) - 1)

    sequences = torch.randint(0, unembed.vocabulary, (4, 512))
    scored = best(lambda: influence.influences(model, [sequences]), repeat=2)
    with torch.inference_mode():
        passed = best(lambda: model.base_model(input_ids=sequences, use_cache=False), repeat=2)

    print(f"SmolLM2-135M, float32, {torch.get_num_threads()} threads, {STEPS} steps, {rows} rows")
    print(f"measured GEMM peak (1024 x 576 x 4096)         {peak / 1e9:8.0f} GFLOP/s")
    line("plain reference, ms a row", reference / rows * 1e3, "")
    line("dropping, ms a row", one / rows * 1e3, "")
    line("dropping: reference / ours", reference / one, ">= 20")
    line("any other edit: reference / ours", reference / general, ">= 12")
    line("lm_head products / GEMM peak", product_rate / peak, ">= 0.70")
    line("statistics of one temperature / products", statistics / lm_head, "<= 1")
    line("each further temperature / products", further / lm_head, "<= 0.5")
    line("memory grown, MB (budget of logits 512)", grown, "")
    line("all influences / one forward pass", scored / passed, "<= 1.25")


@torch.inference_mode()
def only_products(dense: torch.Tensor, unembed: unembedding.Unembedding) -> None:
    """The lm_head products of the trace in its own row chunks, and nothing else."""
    at_once = comparisons.PRODUCT_ROWS // dense.shape[1]
    buffer = torch.empty(comparisons.PRODUCT_ROWS, unembed.vocabulary)
    for start in range(0, len(dense), at_once):
        h = dense[start : start + at_once].flatten(0, 1)
        unembed(h, buffer[: len(h)])


@torch.inference_mode()
def plain_reference(model: Any, prompt: list[int]) -> tuple[float, list[int]]:
    """Seconds for STEPS steps done one at a time, and the tokens written."""
    n_blocks = len(anatomy.blocks_of(model))
    stream: dict[int, torch.Tensor] = {}
    began = time.perf_counter()
    context, cache, answer = torch.tensor([prompt]), None, []
    with capture.boundaries(model, lambda i, h: stream.__setitem__(i, h[0, -1])):
        for _ in range(STEPS):
            out = model(context, past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            context = out.logits[:, -1:].argmax(-1)
            answer.append(int(context))
            for s in range(2 * n_blocks):
                plain_statistics(stream[s + 1], stream[s], model.lm_head)
    return time.perf_counter() - began, answer


def plain_statistics(h: torch.Tensor, h_variant: torch.Tensor, lm_head: torch.nn.Linear) -> None:
    """What one row needs, written down as the formulas stand."""
    z, z_variant = lm_head(h), lm_head(h_variant)
    for u, v in ((h, h_variant), (z, z_variant)):
        delta = v - u
        parallel = (u @ delta) / (u @ u) * u
        _ = 1 - torch.cosine_similarity(u, v, dim=0)
        _ = (delta - parallel).norm() / u.norm(), parallel.norm() / u.norm()
    delta = z_variant - z
    p, q = z.softmax(-1), z_variant.softmax(-1)
    log_p, log_q = z.log_softmax(-1), z_variant.log_softmax(-1)
    _ = 1 - torch.cosine_similarity(p, q, dim=0)
    _ = (p * (log_p - log_q)).sum(), (q * (log_q - log_p)).sum()
    _ = delta.mean(), delta.var(correction=0), delta.min(), delta.max()
    for weight in (p, p**2 / (p**2).sum()):
        mean = (weight * delta).sum()
        _ = (weight * (delta - mean) ** 2).sum()
    mean = (p * delta).sum()
    _ = (p * (delta - mean) ** 3).sum(), (p * (delta - mean) ** 4).sum()


if __name__ == "__main__":
    main()
