"""Surprisal: its definition, and models with and without knowledge of a text."""

import math

import pytest
import torch

from prunescope.checking import surprisal
from prunescope.inference import verdicts
from tiny import tiny_model

TEXT = [5, 9, 2, 7, 3, 8, 5, 9, 2, 7, 3, 8, 1, 6, 4, 5, 9, 2, 7]


def row_of(model):
    (row,) = surprisal.surprisal(model, TEXT).to_pylist()
    return row


def trained(model):
    """The model after sixty steps of Adam on the text."""
    model.requires_grad_(True)
    ids, optimizer = torch.tensor([TEXT]), torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        model(ids, labels=ids).loss.backward()
        optimizer.step()
    return model.requires_grad_(False)


def test_surprisal_is_the_mean_of_minus_log_p_of_the_token_that_follows():
    model = tiny_model("llama")
    log_p = torch.log_softmax(model(torch.tensor([TEXT])).logits[0].double(), -1)
    nats = [-float(log_p[place, token]) for place, token in enumerate(TEXT[1:])]
    row = row_of(model)
    assert row["n_tokens"] == len(TEXT) - 1
    assert row["nats_per_token"] == pytest.approx(sum(nats) / len(nats), rel=1e-5)
    assert row["standard_error"] == pytest.approx(
        float(torch.tensor(nats).std()) / math.sqrt(len(nats)), rel=1e-5
    )
    assert row["nats_of_a_guess"] == pytest.approx(math.log(101))


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2"])
def test_random_weights_know_nothing_and_trained_ones_do(architecture):
    model = tiny_model(architecture)
    assert verdicts.untrained([{"model": "m", **row_of(model)}])
    assert not verdicts.untrained([{"model": "m", **row_of(trained(model))}])
