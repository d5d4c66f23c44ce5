"""How large intermediate logits are, by depth and readout: where Theorems 2 and 3 can hold.

    PYTHONPATH=scripts python tests/benchmarks/logit_scale.py store/inputs/model=…

Reads the prompts of config.yaml with a fetched model and prints a Markdown table: medians over
prompts and their last tokens, after every attention sublayer, of the spread of the logits over the
vocabulary, of the entropy of their softmax at T = 1 and its largest probability, and of the spread
of the shift Δz when that sublayer is dropped.
"""

import argparse
from pathlib import Path

import torch
import yaml
from torch import Tensor

from prunescope.machine import runtime
from prunescope.model import capture, loading, prompts, unembedding

POSITIONS = 8
"""Of each prompt, the last ones."""


def described(z: Tensor, before: Tensor) -> Tensor:
    """Spread of z, entropy of p (nats), largest p, spread of Δz; (rows, vocab) -> (4, rows)."""
    log_p = z.log_softmax(-1)
    entropy = -(log_p.exp() * log_p).sum(-1)
    return torch.stack([z.std(-1), entropy, log_p.amax(-1).exp(), (before - z).std(-1)])


@torch.inference_mode()
def main() -> None:
    """Print the table of one model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model_dir")
    model_dir = parser.parse_args().model_dir
    device = runtime.prepare(torch.get_num_threads())
    model, tokenizer = loading.load(model_dir, "float32", device), loading.load_tokenizer(model_dir)
    config = yaml.safe_load(Path("config.yaml").read_text(encoding="utf-8"))
    states = [
        capture.residuals(model, torch.tensor(ids, device=device), len(ids) - POSITIONS)[0]
        for prompt in config["prompts"].values()
        for ids in [prompts.prompt_token_ids(tokenizer, prompt["text"])]
    ]
    dense = torch.cat(states)
    blocks = (dense.shape[1] - 1) // 2
    shown = sorted({0, 1, *(round(blocks * k / 6) for k in range(1, 6)), blocks - 1})
    print("| block | readout | std of z | entropy of p, nats | largest p | std of Δz | norm of h |")
    print("|---|---|---|---|---|---|---|")
    for block in shown:
        h, before = dense[:, 2 * block + 1], dense[:, 2 * block]
        for final_norm in (False, True):
            unembed = unembedding.readout_of(model, final_norm)
            found = described(unembed(h), unembed(before)).median(-1).values.tolist()
            cells = [*found, float(h.norm(dim=-1).median())]
            name = "final_norm" if final_norm else "lm_head"
            print(f"| {block} | {name} | " + " | ".join(f"{cell:.3g}" for cell in cells) + " |")


if __name__ == "__main__":
    main()
