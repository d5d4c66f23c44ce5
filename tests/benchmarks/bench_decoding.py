"""Decoding traces against the plain way, in one run.

Prints ratios, not verdicts: one line a quantity, with what the project aims for beside it.
The plain way: for each prompt dense and for each history the variant `generate()` once, keeping
hidden states and logits, and the statistics of the pair are taken in numpy afterwards, at the same
temperatures. Histories on dense tokens are stood for by a `generate()` made to write those tokens:
it takes the same steps, and mixing its cache would take more. Ours come with options and texts.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import yaml
from timing import line, peak_mb, stock_model
from transformers import LogitsProcessor, LogitsProcessorList

from prunescope.machine import products, runtime
from prunescope.model import edits, loading, prompts, unembedding
from prunescope.model.variant import Variant
from prunescope.tracing import decoding, histories
from prunescope.tracing.answer_traces import trace_answers
from smollm2 import ROOT, model_dir

DROPPED = edits.Edit({"attn": (4, 8, 12, 16, 19, 22, 25, 28)})
"""Eight attention sublayers: which ones does not matter to the time."""


def main() -> None:
    """Measure, then print the table."""
    runtime.prepare(threads=torch.get_num_threads())
    config: dict[str, Any] = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    temperatures = config["tracing"]["temperatures"]
    steps = config["decoding"]["max_new_tokens"]
    dense = loading.load(model_dir(), "float32", torch.device("cpu"))
    variant = loading.apply_edit(dense, DROPPED)
    tokenizer = loading.load_tokenizer(model_dir())
    asked = [
        prompts.Asked(name, 0.0, prompts.prompt_token_ids(tokenizer, prompt["text"]))
        for name, prompt in config["prompts"].items()
    ]
    tokens = prompts.answers(dense, tokenizer, asked, steps, seed=0)
    ends = prompts.end_of_text(dense, tokenizer)
    answers = prompts.as_rows(config["prompts"], asked, tokens, tokenizer, ends)

    stock = stock_model()
    stock_variant = loading.apply_edit(stock, DROPPED)
    free = forced = 0.0
    for each, answer in zip(asked, tokens, strict=True):
        own, on_dense = plain(stock, stock_variant, each.token_ids, answer, temperatures)
        free, forced = free + own, forced + on_dense
    plainly = free + len(histories.ON_DENSE_TOKENS) * forced

    products.order_weights(dense, variant)
    before = peak_mb()
    began = time.perf_counter()
    written = prompts.answers(variant, tokenizer, asked, steps, seed=0)
    decoded = time.perf_counter() - began
    tables = trace_answers(
        dense,
        Variant(variant, DROPPED),
        tokenizer,
        list(zip(answers, written, strict=True)),
        decoding.DecodingSettings(
            max_new_tokens=steps,
            seed=0,
            temperatures=temperatures,
            thresholds=config["texts"],
            memory_mb=config["tracing"]["memory_mb"],
        ),
    )
    rows = sum(table.num_rows for each in tables for table in each.values())
    ours = time.perf_counter() - began
    vocabulary = unembedding.output_of(dense).vocabulary
    kept = sum(map(len, tokens)) * 2 * vocabulary * 4 / 2**20

    print(f"SmolLM2-135M, float32, {torch.get_num_threads()} threads, {len(asked)} prompts,")
    print(f"up to {steps} steps, {len(temperatures)} temperatures, {rows} rows")
    line("plain way, four histories, seconds", plainly, "")
    line("of which free running and dense", free, "")
    line("ours, four histories, seconds", ours, "")
    line("of which decoding the variant's texts", decoded, "")
    line("plain way / ours", plainly / ours, ">= 3")
    line("plain way, free running alone / ours", free / ours, "")
    line("memory grown, MB (budget of logits 512)", peak_mb() - before, "")
    line("logits of all steps, both models, MB", kept, "")


def plain(
    dense: Any,
    variant: Any,
    prompt: Sequence[int],
    answer: Sequence[int],
    temperatures: Sequence[float],
) -> tuple[float, float]:
    """Seconds for one prompt: both models alone and compared; the variant on dense tokens."""
    began = time.perf_counter()
    of_dense = generated(dense, prompt, len(answer))
    compared(of_dense, generated(variant, prompt, len(answer)), temperatures)
    parted = time.perf_counter()
    compared(of_dense, generated(variant, prompt, len(answer), answer), temperatures)
    return parted - began, time.perf_counter() - parted


class Dictated(LogitsProcessor):
    """Makes `generate` write given tokens."""

    def __init__(self, tokens: Sequence[int], read: int) -> None:
        self.tokens, self.read = tokens, read

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """All scores the lowest but that of the next token."""
        chosen = torch.full_like(scores, -torch.inf)
        chosen[:, self.tokens[input_ids.shape[1] - self.read]] = 0
        return chosen


Kept = list[tuple[np.ndarray, np.ndarray]]
"""h and z of every step."""


def generated(
    model: Any, prompt: Sequence[int], steps: int, tokens: Sequence[int] | None = None
) -> Kept:
    """What one `generate()` keeps, step by step; `tokens` are written where given."""
    dictated = [] if tokens is None else [Dictated(tokens, len(prompt))]
    out = model.generate(
        torch.tensor([list(prompt)]),
        max_new_tokens=steps,
        do_sample=False,
        logits_processor=LogitsProcessorList(dictated),
        output_hidden_states=True,
        output_logits=True,
        return_dict_in_generate=True,
    )
    h = [each[-1][0, -1].numpy() for each in out.hidden_states]
    return list(zip(h, (each[0].numpy() for each in out.logits), strict=True))


def compared(dense: Kept, variant: Kept, temperatures: Sequence[float]) -> None:
    """Every statistic of a pair, step by step."""
    for (h, z), (v, y) in zip(dense, variant, strict=False):
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
