"""Compression against the hardware's limit, in one run: 16 x 512 tokens through SmolLM2, float32.

Prints ratios, not verdicts: one line a quantity, with what the project aims for beside it. A floor
is the products a method cannot do without, each shape at the rate this machine reaches on it alone:
two passes of every block's linears and attention, down_proj left out of the pass that only looks,
and nothing after the last block's edit; for SparseGPT half a product X^T X per Hessian as well.
There are two: of torch's own products, which is what any method written with torch pays, and of
ours, linears by oneDNN (`products`) and `attention` in parts, which aims are not held against.
Process start and model load are left out, and what a process does once (`warm_up`).
"""

import ctypes
import functools
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from timing import best, line, qkv_of, torch_attention
from torch import nn

from paper_masks import disagreements
from prunescope.compression import influence, methods
from prunescope.compression.blockwise import BlockWalk, Calibration, ColumnNorms
from prunescope.machine import allocator, attention, products, runtime
from prunescope.model import anatomy, loading, replacements
from prunescope.model.edits import Edit
from smollm2 import model_dir, text_token_ids

SEQUENCES, LENGTH = 16, 512
TOGETHER = 2048
"""Tokens of one product of a floor, on all threads: the fastest of its size."""


def main() -> None:
    """Measure, then print the table."""
    as_a_job()
    runtime.prepare(threads=torch.get_num_threads())
    model = loading.load(model_dir(), "float32", torch.device("cpu"))
    calibration = Calibration(text_token_ids(SEQUENCES, LENGTH))
    warm_up(model, calibration)
    weights = {
        f"{name} {settings}": (name, settings)
        for name, settings in (
            ("wanda", {"sparsity": 0.5}),
            ("wanda", {"pattern": "2:4"}),
            ("sparsegpt", {"sparsity": 0.5}),
            ("sparsegpt", {"pattern": "2:4"}),
        )
    }
    floor, seconds, edits = interleaved(model, calibration, weights)
    print(f"SmolLM2-135M, float32, {torch.get_num_threads()} threads, {SEQUENCES} x {LENGTH}")
    line("linears and attention of one pass, torch's own, s", floor["pass"], "")
    line("the same by our products, s", floor["pass by ours"], "")

    forward = best(lambda: whole_pass(model, calibration), repeat=2)
    scored = best(lambda: influence.influences(model, batches(calibration)), repeat=2)
    line("one forward pass / its floor", forward / floor["pass"], "")
    line("all influences / one forward pass", scored / forward, "<= 1.25")

    for what, (name, settings) in weights.items():
        print(f"{what}: {seconds[what]:.1f} s")
        aim = {"wanda": "<= 1.1", "sparsegpt": "<= 1.6"}[name]
        line(f"{what} / floor", seconds[what] / floor[name], aim)
        line(
            "  the same, floor of our products",
            seconds[what] / floor[f"{name} by ours"],
            "",
        )
        if name == "wanda":
            edit = edits[what]
            differ, total = disagreements(model, edit, calibration.token_ids, **settings)
            line(
                "  its mask bits that differ from the paper's, per million",
                differ / total * 1e6,
                "near ties",
            )
    for name, settings in (
        ("magnitude", {"sparsity": 0.5}),
        ("rtn", {"bits": 4, "group_size": 64}),
        ("awq", {"bits": 4, "group_size": 64}),
        ("neuron", {"sparsity": 0.5}),
    ):
        took, _ = compressed(model, calibration, name, settings)
        line(f"{name} {settings}, s", took, "")

    half = Calibration(calibration.token_ids, dtype=torch.bfloat16)
    for name in ("wanda", "sparsegpt"):
        settings = {"sparsity": 0.5}
        took, edit = compressed(model, half, name, settings)
        line(f"{name} with bfloat16 passes, s", took, "")
        differ = differing_bits(edit, edits[f"{name} {settings}"], model)
        line("share of mask bits that differ from float32", differ, "")

    counted, grown = isolated(peak_memory)
    line("memory of a walk beside model and edit, counted, MB", counted / 2**20, "")
    line("memory of a walk: grown / counted beforehand", grown / counted, "<= 1")


def as_a_job() -> None:
    """Begin again with the environment the Snakefile gives its jobs: glibc reads it only once."""
    if not os.environ.items() >= allocator.ENVIRONMENT.items():
        os.environ.update(allocator.ENVIRONMENT)
        os.execv(sys.executable, [sys.executable, *sys.argv])


def warm_up(model: Any, calibration: Calibration) -> None:
    """What a process does once: pyarrow imports pandas with its first table, for a second."""
    methods.load("magnitude")(model, Calibration(calibration.token_ids[:1, :16]), sparsity=0.5)


def batches(calibration: Calibration) -> list[torch.Tensor]:
    """Token ids of as many sequences as a floor's products take together."""
    return list(calibration.token_ids.split(TOGETHER // LENGTH))


@torch.inference_mode()
def whole_pass(model: Any, calibration: Calibration) -> None:
    """The model's own forward pass without lm_head."""
    for ids in batches(calibration):
        model.base_model(input_ids=ids, use_cache=False)


def interleaved(
    model: Any, calibration: Calibration, weights: dict[str, tuple[str, dict[str, Any]]]
) -> tuple[dict[str, float], dict[str, float], dict[str, Edit]]:
    """Floors, seconds and edits, each the best of two rounds: all see the machine's same phases."""
    found: list[dict[str, float]] = []
    seconds: list[dict[str, float]] = []
    edits: dict[str, Edit] = {}
    for _ in range(2):
        found.append(floors(model))
        seconds.append({})
        for what, (name, settings) in weights.items():
            seconds[-1][what], edits[what] = compressed(model, calibration, name, settings)
    return least(found), least(seconds), edits


def least(rounds: list[dict[str, float]]) -> dict[str, float]:
    """The least of each quantity."""
    return {name: min(one[name] for one in rounds) for name in rounds[0]}


def floors(model: Any) -> dict[str, float]:
    """Seconds of the products alone: one pass, and what each method needs at least.

    By torch's own library and by our products; X^T X is measured once for both.
    """
    blocks = anatomy.blocks_of(model)
    linears = {n: m for n, m in blocks[0].named_modules() if isinstance(m, nn.Linear)}
    times = SEQUENCES * LENGTH // TOGETHER
    groups = next(
        iter(BlockWalk(model, Calibration(text_token_ids(1, LENGTH)), ColumnNorms))
    ).groups
    rank_k = times * sum(best(gram_of(group.in_features), repeat=10) for group in groups)
    qkv = qkv_of(model.config, TOGETHER // LENGTH, LENGTH)
    found: dict[str, float] = {}
    for by, linear, weight_of, attend in (
        ("", nn.functional.linear, lambda m: m.weight, torch_attention),
        (
            " by ours",
            products.linear,
            lambda m: products.ordered(m.weight),
            attention.causal_attention,
        ),
    ):
        product = {
            name: times
            * best(
                functools.partial(linear, torch.ones(TOGETHER, m.in_features), weight_of(m)),
                repeat=20,
            )
            for name, m in linears.items()
        }
        attending = best(functools.partial(attend, *qkv, None), repeat=20)
        one = sum(product.values()) + times * attending
        down = product[anatomy.anatomy_of(model).mlp_out]
        two = len(blocks) * (one - down) + (len(blocks) - 1) * one
        found[f"pass{by}"] = len(blocks) * one
        found[f"wanda{by}"] = two
        found[f"sparsegpt{by}"] = two + len(blocks) * rank_k / 2
    return found


def gram_of(width: int) -> Callable[[], Any]:
    """X^T X of one micro-batch."""
    x, gram = torch.randn(TOGETHER, width), torch.zeros(width, width)
    return lambda: gram.addmm_(x.T, x)


def compressed(
    model: Any, calibration: Calibration, name: str, settings: dict[str, Any]
) -> tuple[float, Edit]:
    """Seconds of one compression, and its edit."""
    began = time.perf_counter()
    edit, _ = methods.load(name)(model, calibration, **settings)
    return time.perf_counter() - began, edit


def differing_bits(one: Edit, other: Edit, model: Any) -> float:
    """Share of weights that one edit keeps and the other does not."""
    differ = total = 0
    for name, replacement in one.tensors.items():
        shape = model.get_parameter(name).shape
        bits = [replacements.unpack_bits(r.keep, shape) for r in (replacement, other.tensors[name])]
        differ += int((bits[0] != bits[1]).sum())
        total += math.prod(shape)
    return differ / total


def isolated(measure: Callable[[], tuple[float, float]]) -> tuple[float, float]:
    """What `measure` finds in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure)


def peak_memory() -> tuple[float, float]:
    """Bytes a Wanda walk was counted to add to the loaded model, and bytes it added at its peak.

    The edit, which the walk gathers, is in neither.
    """
    runtime.prepare(threads=2)
    model = loading.load(model_dir(), "float32", torch.device("cpu"))
    calibration = Calibration(text_token_ids(SEQUENCES, LENGTH))
    memory = BlockWalk(model, calibration, ColumnNorms).estimate()
    warm_up(model, calibration)
    ctypes.CDLL(None).malloc_trim(0)
    for parameter in model.parameters():
        parameter.sum()  # mapped weights count as resident only once all of them have been read
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew (Linux)
    before = resident("VmRSS")
    edit, _ = methods.load("wanda")(model, calibration, sparsity=0.5)
    packed = [replacements.as_tensors(new).values() for new in edit.tensors.values()]
    gathered = sum(field.nbytes for fields in packed for field in fields)
    return sum(memory) - memory.model, resident("VmHWM") - before - gathered


def resident(field: str) -> float:
    """Bytes of this process in memory: VmRSS now, VmHWM at the peak."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = [line for line in status.splitlines() if line.startswith(f"{field}:")]
    return float(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
