"""With real weights, the one-pass trace of SmolLM2 equals decoding with hooks."""

import numpy as np
import pytest
import torch

from pair_columns import by_name
from prunescope.compression import influence
from prunescope.machine import runtime
from prunescope.model import anatomy, capture, edits, loading, prompts, unembedding
from prunescope.model.variant import Variant
from prunescope.tracing import decoding, sublayer_traces
from smollm2 import model_dir

STEPS = 4
TEMPERATURES = (0.5, 1.0)


@pytest.fixture(scope="module")
def smollm2():
    """Model, tokenizer, prompt and its greedy answer."""
    device = runtime.prepare(torch.get_num_threads())
    model = loading.load(model_dir(), "float32", device)
    tokenizer = loading.load_tokenizer(model_dir())
    ids = prompts.prompt_token_ids(tokenizer, "How many legs have three spiders and a cat?")
    (answer,) = prompts.answers(model, tokenizer, [prompts.Asked("p", 0, ids)], STEPS, seed=0)
    return model, ids, answer


def _decoded(model, ids, steps):
    """Boundaries at each step of a cached decode, (steps, boundaries, d), and the tokens."""
    stream, rows, tokens, cache = {}, [], [], None
    context = torch.tensor([ids])
    with capture.boundaries(model, lambda i, h: stream.__setitem__(i, h[0, -1].clone())):
        for _ in range(steps):
            out = model(context, past_key_values=cache, use_cache=True)
            cache, context = out.past_key_values, out.logits[:, -1:].argmax(-1)
            tokens.append(int(context))
            rows.append(torch.stack([stream[i] for i in sorted(stream)]))
    return torch.stack(rows), tokens


def _oracle(z, z_variant, t):
    """Plain formulas in float64, with log-sum-exp and nothing clever."""
    log_p = z / t - np.logaddexp.reduce(z / t)
    log_q = z_variant / t - np.logaddexp.reduce(z_variant / t)
    p, q, delta = np.exp(log_p), np.exp(log_q), z_variant - z
    r = p**2 / (p**2).sum()
    return {
        "kl_divergence": (p * (log_p - log_q)).sum(),
        "reverse_kl_divergence": (q * (log_q - log_p)).sum(),
        "angular_deviation": 1 - p @ q / np.sqrt((p @ p) * (q @ q)),
        "var_p": (p * (delta - p @ delta) ** 2).sum(),
        "var_escort": (r * (delta - r @ delta) ** 2).sum(),
    }


def test_trace_equals_cached_decoding_on_real_weights(smollm2):
    """All statistics of p to 3e-3, except where float64 shows that they are rounding errors."""
    model, ids, answer = smollm2
    decoded, tokens = _decoded(model, ids, STEPS)
    assert tokens == answer
    context = torch.tensor(ids + answer[:-1])
    dense, variant = capture.residuals(model, context, len(ids) - 1)
    unembed = unembedding.Unembedding(anatomy.lm_head_of(model))
    dropped = range(2 * len(anatomy.blocks_of(model)))
    found = sublayer_traces.statistics(dense, variant, dropped, unembed, TEMPERATURES, 256)
    weight = model.lm_head.weight.double().numpy()
    for step in range(0, STEPS, 3):
        z = decoded[step].double().numpy() @ weight.T
        for s in dropped:
            for i, t in enumerate(TEMPERATURES):
                for name, value in _oracle(z[s + 1], z[s], t).items():
                    ours = float(getattr(found.p, name)[step, s, i])
                    # Two float32 passes differ in their logits, in probabilities 1/T times so.
                    near = pytest.approx(value, rel=3e-3 / t, abs=1e-8)
                    assert ours == near, (name, step, s, t)


def test_the_first_and_last_block_have_the_largest_influence(smollm2):
    """For any text, the first block turns the residual stream most."""
    model, ids, _ = smollm2
    rows = influence.influences(model, [torch.tensor([ids])]).to_pylist()
    blocks = {row["block"]: row["influence"] for row in rows if row["sublayer"] == "block"}
    assert len(blocks) == 30
    assert max(blocks, key=blocks.__getitem__) == 0


def _row(ids, tokens):
    return {
        "prompt": "p",
        "sampling_temperature": 0.0,
        "prompt_token_ids": list(ids),
        "answer_token_ids": tokens,
    }


def test_identity_decodes_to_exact_zeros_on_real_weights(smollm2):
    """Under each history, in float32: no difference in the last bit."""
    model, ids, answer = smollm2
    row, same = _row(ids, answer), loading.apply_edit(model, edits.Edit())
    at = decoding.states(model, Variant(same), row, answer)
    found = decoding.compare(at, unembedding.output_of(model), row, TEMPERATURES, 256, seed=0)
    for name, column in by_name(found.statistics).items():
        if name.endswith(("deviation", "divergence", "_shift")) or ".var_" in name:
            assert not column.any(), name
    assert found.variant_token.tolist() == [[token] * 4 for token in answer]


def test_free_running_equals_plain_generate_on_real_weights(smollm2):
    """KL of the logits that `generate` returns for both models, summed in float64."""
    model, ids, _ = smollm2
    edit = edits.Edit({"attn": (10, 20)})
    variant = loading.apply_edit(model, edit)
    kept = [
        each.generate(
            torch.tensor([ids]),
            max_new_tokens=STEPS,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
        for each in (model, variant)
    ]
    tokens, own = (out.sequences[0, len(ids) :].tolist() for out in kept)
    z, z_variant = (np.concatenate([each.double().numpy() for each in out.logits]) for out in kept)
    at = decoding.states(model, Variant(variant, edit), _row(ids, tokens), own)
    found = decoding.compare(
        at, unembedding.output_of(model), _row(ids, tokens), TEMPERATURES, 256, seed=0
    )
    for step in range(min(len(tokens), len(own))):
        for index, temperature in enumerate(TEMPERATURES):
            for name, expected in _oracle(z[step], z_variant[step], temperature).items():
                measured = float(getattr(found.statistics.p, name)[step, 3, index])
                assert measured == pytest.approx(expected, rel=1e-2, abs=1e-6), (step, name)
