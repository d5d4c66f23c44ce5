"""How well a model predicts a text, which tells a trained model from one with random weights."""

import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import torch

from prunescope.tables.schemas import TABLES

TOKENS = 32
"""Length of the text in tokens."""


@torch.inference_mode()
def surprisal(model: Any, token_ids: Sequence[int]) -> pa.Table:
    """Table `surprisal`: the mean of -log p of each token given those before it, in nats.

    Parameters
    ----------
    model : a causal model.
    token_ids : token ids of a text, of which the first `TOKENS` are read.
    """
    ids = torch.tensor([list(token_ids[:TOKENS])], device=model.device)
    logits = model(ids, use_cache=False).logits[0, :-1].double()
    nats = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none")
    row = {
        "n_tokens": len(nats),
        "nats_per_token": float(nats.mean()),
        "standard_error": float(nats.std() / math.sqrt(len(nats))),
        "nats_of_a_guess": math.log(logits.shape[1]),
    }
    return pa.Table.from_pylist([row], schema=TABLES["surprisal"].schema)
