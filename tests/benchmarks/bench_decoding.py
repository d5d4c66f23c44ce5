"""Decoding traces against the plain way, in one run.

Prints ratios, not verdicts: one line a quantity, with what the project aims for beside it.
The plain way: for each prompt and model one `generate()` that keeps hidden states and scores, and
afterwards the statistics of the pair in numpy, at the same temperatures. That is one history, free
running; ours are four, with options and texts.
"""

import resource
import time
from typing import Any

import numpy as np
import torch
import yaml

from prunescope import edits, models, prompts, runtime, spaces
from smollm2 import ROOT, model_dir
from trace_decoding import trace_answers

DROPPED = edits.Edit({"attn": (4, 8, 12, 16, 19, 22, 25, 28)})
"""Eight attention sublayers: which ones does not matter to the time."""


def main() -> None:
    """Measure, then print the table."""
    runtime.prepare(threads=torch.get_num_threads())
    config: dict[str, Any] = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    temperatures = config["tracing"]["temperatures"]
    steps = config["decoding"]["max_new_tokens"]
    dense = models.load(model_dir(), "float32", torch.device("cpu"))
    variant = models.apply_edit(dense, DROPPED)
    tokenizer = models.load_tokenizer(model_dir())
    asked = [
        prompts.Asked(name, 0.0, prompts.prompt_token_ids(tokenizer, prompt["text"]))
        for name, prompt in config["prompts"].items()
    ]
    tokens = prompts.answers(dense, tokenizer, asked, steps, seed=0)
    ends = prompts.end_of_text(dense, tokenizer)
    answers = prompts.as_rows(config["prompts"], asked, tokens, tokenizer, ends)

    began = time.perf_counter()
    for each in asked:
        plain(dense, variant, each, steps, temperatures)
    plainly = time.perf_counter() - began

    before = _peak_mb()
    began = time.perf_counter()
    written = prompts.answers(variant, tokenizer, asked, steps, seed=0)
    decoded = time.perf_counter() - began
    tables = trace_answers(
        dense,
        variant,
        DROPPED,
        tokenizer,
        list(zip(answers, written, strict=True)),
        temperatures,
        config["texts"]["degenerate"],
        config["tracing"]["memory_mb"],
        seed=0,
    )
    rows = sum(table.num_rows for each in tables for table in each.values())
    ours = time.perf_counter() - began
    vocabulary = spaces.output_of(dense).vocabulary
    kept = sum(map(len, tokens)) * 2 * vocabulary * 4 / 2**20

    print(f"SmolLM2-135M, float32, {torch.get_num_threads()} threads, {len(asked)} prompts,")
    print(f"up to {steps} steps, {len(temperatures)} temperatures, {rows} rows")
    line("plain way, one history, seconds", plainly, "")
    line("ours, four histories, seconds", ours, "")
    line("of which decoding the variant's texts", decoded, "")
    line("plain way / ours", plainly / ours, ">= 3")
    line("memory grown, MB (budget of logits 512)", _peak_mb() - before, "")
    line("logits of all steps, both models, MB", kept, "")


def line(what: str, value: float, aim: str) -> None:
    """One row of the table."""
    print(f"{what:45s}  {value:8.2f}  {aim}")


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def plain(
    dense: Any, variant: Any, asked: prompts.Asked, steps: int, temperatures: list[float]
) -> None:
    """One prompt: both models generate alone, then numpy compares what they kept."""
    kept = []
    for model in (dense, variant):
        out = model.generate(
            torch.tensor([list(asked.token_ids)]),
            max_new_tokens=steps,
            do_sample=False,
            output_hidden_states=True,
            output_scores=True,
            return_dict_in_generate=True,
        )
        h = [each[-1][0, -1].numpy() for each in out.hidden_states]
        kept.append((h, [each[0].numpy() for each in out.scores]))
    (h_dense, z_dense), (h_variant, z_variant) = kept
    for h, v, z, y in zip(h_dense, h_variant, z_dense, z_variant, strict=False):
        plain_statistics(h, v)
        plain_statistics(z, y)
        for temperature in temperatures:
            plain_shift(z.astype(np.float64), y.astype(np.float64), temperature)


def plain_statistics(u: np.ndarray, v: np.ndarray) -> None:
    """Angle and parts of a perturbation, as the formulas stand."""
    delta = v - u
    parallel = (u @ delta) / (u @ u) * u
    _ = 1 - (u @ v) / (np.linalg.norm(u) * np.linalg.norm(v))
    _ = np.linalg.norm(delta - parallel) / np.linalg.norm(u), np.linalg.norm(parallel)
    _ = delta.mean(), delta.var(), delta.min(), delta.max()


def plain_shift(z: np.ndarray, z_variant: np.ndarray, temperature: float) -> None:
    """KL both ways, angle and moments of Δz, as the formulas stand."""
    log_p = z / temperature - np.logaddexp.reduce(z / temperature)
    log_q = z_variant / temperature - np.logaddexp.reduce(z_variant / temperature)
    p, q, delta = np.exp(log_p), np.exp(log_q), z_variant - z
    _ = (p * (log_p - log_q)).sum(), (q * (log_q - log_p)).sum()
    _ = 1 - (p @ q) / np.sqrt((p @ p) * (q @ q))
    escort = p**2 / (p**2).sum()
    _ = escort @ (delta - escort @ delta) ** 2
    centred = delta - p @ delta
    _ = p @ centred**2, p @ centred**3, p @ centred**4


if __name__ == "__main__":
    main()
