"""An answer of a tiny model and settings, as the traces read them."""

from typing import Any

import torch

from prunescope.tracing import sublayer_traces

TEMPERATURES = (0.5, 1.0)
SETTINGS = sublayer_traces.TraceSettings(TEMPERATURES, final_norm=False, steps=5, memory_mb=64)
PROMPT = [5, 17, 3, 99]


def greedy(model: Any, prompt: list[int], steps: int) -> list[int]:
    ids = list(prompt)
    for _ in range(steps):
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(prompt) :]


def answer_of(model: Any, steps: int = 5) -> dict[str, Any]:
    return {
        "prompt": "p",
        "prompt_token_ids": PROMPT,
        "answer_token_ids": greedy(model, PROMPT, steps),
    }
