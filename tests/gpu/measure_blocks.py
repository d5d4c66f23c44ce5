"""Blocks of Qwen2.5-7B's shape, random bfloat16 weights, through every stage: seconds and memory.

Prints a Markdown table with the device's name. Numbers say what a stage costs a block, not what a
model of that shape answers: its weights are random.
"""

import argparse
import contextlib
import copy
import resource
import time
from collections.abc import Iterator
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from prunescope.checking import model_check
from prunescope.compression import influence, methods
from prunescope.compression.blockwise import Calibration
from prunescope.machine import attention, products, runtime
from prunescope.model import capture, loading, prompts, unembedding
from prunescope.model.anatomy import blocks_of
from prunescope.model.variant import Variant
from prunescope.tracing import decoding, sublayer_traces

WHOLE = {
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
}
SMALL = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 2048,
}

TEMPERATURES = (0.3, 0.5, 0.7, 1.0, 1.5)

Measured = dict[str, tuple[float, float]]
"""Stage -> seconds, GB at its peak."""


class Text:
    """How much of it each stage reads."""

    def __init__(self, small: bool) -> None:
        self.sequences, self.length = (4, 64) if small else (16, 2048)
        self.prompts, self.steps = (4, 8) if small else (24, 64)


@contextlib.contextmanager
def measured(found: Measured, stage: str, device: torch.device) -> Iterator[None]:
    """Time a stage, and take its peak memory: of the GPU, or of the process on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    yield
    if device.type == "cuda":
        torch.cuda.synchronize()
        peak = float(torch.cuda.max_memory_allocated())
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 2.0**10
    found[stage] = time.perf_counter() - start, peak / 1e9
    print(f"  {stage}: {found[stage][0]:.2f} s, {found[stage][1]:.2f} GB", flush=True)


def made(n_blocks: int, shape: dict[str, int], device: torch.device) -> Any:
    """A random Qwen2 of so many blocks, made on the device, as `models.load` would return it."""
    config = AutoConfig.for_model(
        "qwen2", num_hidden_layers=n_blocks, tie_word_embeddings=False, eos_token_id=None, **shape
    )
    torch.manual_seed(0)
    with device:
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    return attention.use(products.use(model.eval().requires_grad_(False)))


def stages(model: Any, text: Text, device: torch.device) -> Measured:
    """Every stage of one model."""
    found: Measured = {}
    vocabulary = model.config.vocab_size
    random = torch.Generator().manual_seed(0)
    ids = torch.randint(vocabulary, (text.sequences, text.length), generator=random)
    with measured(found, "check", device):
        checks = model_check.structure(model, ids[0, : model_check.TOKENS].tolist(), "causal")
        if failed := model_check.failures(checks):
            raise SystemExit(failed)
    with measured(found, "noise floor", device):
        model_check.noise_floor(model, ids[0].tolist())
    with measured(found, f"influences, {ids.numel()} tokens", device):
        influence.influences(model, ids.split(1))

    on_cpu = copy.deepcopy(model).cpu()  # where a job leaves it: a block at a time goes over
    calibration = Calibration(ids, device)
    edit_of = {}
    for method, settings in (
        ("wanda", {"sparsity": 0.5}),
        ("sparsegpt", {"sparsity": 0.5}),
        ("awq", {"bits": 4, "group_size": 128 if text.length > 64 else 64}),
    ):
        with measured(found, f"{method}, {ids.numel()} tokens", device):
            edit_of[method], report = methods.load(method)(on_cpu, calibration, **settings)
        errors = report["relative_output_error"].to_pylist()
        if not all(0 < error < 1.5 for error in errors):
            raise SystemExit(f"{method}: output errors {errors}")
    del on_cpu

    wanda = edit_of["wanda"]
    context = ids[0, : 64 + text.steps].to(device)
    n_sublayers = 2 * len(blocks_of(model))
    for final_norm in (False, True):
        readout = "after the final norm" if final_norm else "lm_head alone"
        with measured(found, f"sublayer trace of drops, {text.steps} steps, {readout}", device):
            dense, variant = capture.residuals(model, context, 64)
            unembed = unembedding.readout_of(model, final_norm)
            sublayer_traces.statistics(dense, {}, range(n_sublayers), unembed, TEMPERATURES, 4096)
    with measured(found, f"sublayer trace of Wanda, {text.steps} steps", device):
        dense, variant = capture.residuals(model, context, 64, wanda)
        unembed = unembedding.readout_of(model, False)
        sublayer_traces.statistics(dense, variant, [], unembed, TEMPERATURES, 4096)

    asked = [
        prompts.Asked(f"p{place}", 0.7 * (place % 2), ids[place % len(ids), :40].tolist())
        for place in range(text.prompts)
    ]
    with measured(found, f"decoding, {text.prompts} x {text.steps} tokens", device):
        answers = prompts.answers(model, _NoTokenizer(), asked, text.steps, 0)  # type: ignore[arg-type]
    changed = loading.apply_edit(model, wanda)
    answer = {
        "prompt": "p0",
        "sampling_temperature": 0.0,
        "prompt_token_ids": list(asked[0].token_ids),
        "answer_token_ids": answers[0],
    }
    with measured(found, f"decoding trace of Wanda, {text.steps} steps", device):
        at = decoding.states(model, Variant(changed, wanda), answer, answers[0])
        decoding.compare(at, unembedding.output_of(model), answer, TEMPERATURES, 4096, 0)
    return found


class _NoTokenizer:
    """A model without an end of text is asked, so that every answer is as long."""

    eos_token_id = None


def main() -> None:
    """Measure one block and two, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="blocks and texts for a CPU")
    small = parser.parse_args().small
    device = runtime.prepare(torch.get_num_threads())
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    shape, text = (SMALL if small else WHOLE), Text(small)
    found = []
    for n_blocks in (1, 2):
        print(f"{n_blocks} block(s) on {name}", flush=True)
        model = made(n_blocks, shape, device)
        found.append(stages(model, text, device))
        del model
        if device.type == "cuda":
            torch.cuda.empty_cache()
    memory = "peak GPU memory" if device.type == "cuda" else "peak of the process so far"
    print(f"\n{name}, torch {torch.__version__}, bfloat16, {shape}; {memory}.\n")
    print("| stage | 1 block, s | GB | 2 blocks, s | GB |\n|---|---|---|---|---|")
    for stage, (seconds, peak) in found[0].items():
        more, most = found[1][stage]
        print(f"| {stage} | {seconds:.2f} | {peak:.2f} | {more:.2f} | {most:.2f} |")


if __name__ == "__main__":
    main()
