"""Agreement equals its definition, computed in float64 from the logits of both models."""

import pytest
import torch

from prunescope.model import edits, loading
from prunescope.tracing import agreement
from tiny import tiny_model

ANSWERS = [
    {"prompt_token_ids": [5, 17, 3, 99], "answer_token_ids": [42, 8, 64]},
    {"prompt_token_ids": [7, 11], "answer_token_ids": [13]},
]
STEPS = 4  # three and one: the last token of an answer is not read


def _plain(dense, variant):
    """h, z, p cosines, KL and equal argmax of each step, by the textbook."""
    rows = []
    for answer in ANSWERS:
        read = torch.tensor([answer["prompt_token_ids"] + answer["answer_token_ids"][:-1]])
        start = len(answer["prompt_token_ids"]) - 1
        outs = [model(read, output_hidden_states=True) for model in (dense, variant)]
        h, h_variant = (out.hidden_states[-1][0, start:] for out in outs)
        z, z_variant = (out.logits[0, start:] for out in outs)
        p, q = z.softmax(-1), z_variant.softmax(-1)
        rows.append(
            torch.stack(
                [
                    *(
                        torch.cosine_similarity(*pair, dim=-1)
                        for pair in ((h, h_variant), (z, z_variant), (p, q))
                    ),
                    (p * (p / q).log()).sum(-1),
                    (z.argmax(-1) == z_variant.argmax(-1)).double(),
                ]
            )
        )
    return torch.cat(rows, dim=-1)


@pytest.mark.parametrize("dropped", [{"attn": (1,)}, {"mlp": (0, 2)}, {"block": (1,)}], ids=str)
def test_agreement_equals_its_definition(model, dropped):
    """For every architecture, also with scaled logits; means and median are over steps."""
    variant = loading.apply_edit(model, edits.Edit(dropped))
    plain = _plain(model, variant)
    h, z, p, kl, same = plain.mean(-1).tolist()
    found = agreement.agreement(model, variant, ANSWERS, steps=99)
    assert found.steps == STEPS == plain.shape[-1]
    assert found.similarity_embedding == pytest.approx(h)
    assert found.similarity_logit == pytest.approx(z)
    assert found.similarity_probability == pytest.approx(p)
    assert found.mean_kl_divergence == pytest.approx(kl)
    middle = plain[3].sort().values[1:3].mean().item()
    assert found.median_kl_divergence == pytest.approx(middle)
    assert found.top_token_agreement == same


def test_dense_agrees_with_itself(model):
    found = agreement.agreement(model, loading.apply_edit(model, edits.Edit()), ANSWERS, steps=99)
    assert found == (STEPS, 1, 1, 1, 0, 0, 1)


def test_logits_are_computed_in_chunks(monkeypatch):
    """Two rows at a time give the same numbers, with at most two rows of logits in memory."""
    dense = tiny_model("llama").double()
    variant = loading.apply_edit(dense, edits.Edit({"attn": (1,)}))
    whole = agreement.agreement(dense, variant, ANSWERS, steps=99)
    rows = []
    output_logits = agreement.output_logits
    monkeypatch.setattr(agreement, "_LOGITS_AT_ONCE", 2 * 101)
    monkeypatch.setattr(
        agreement, "output_logits", lambda m, h: rows.append(len(h)) or output_logits(m, h)
    )
    assert agreement.agreement(dense, variant, ANSWERS, steps=99) == pytest.approx(whole)
    assert rows == [2, 2, 1, 1, 1, 1]


def test_half_precision_logits_are_not_rounded():
    """Logits of a bfloat16 model are summed and compared in float32."""
    model = tiny_model("granite").bfloat16()
    h = torch.randn(3, 24, generator=torch.Generator().manual_seed(0)).bfloat16()
    z = agreement.output_logits(model, h)
    exact = h.double() @ model.lm_head.weight.double().T / 2
    torch.testing.assert_close(z.double(), exact, rtol=1e-5, atol=1e-5)


def test_steps_beyond_the_limit_are_ignored():
    """The result is that of answers truncated to the same number of steps."""
    dense = tiny_model("llama").double()
    variant = loading.apply_edit(dense, edits.Edit({"attn": (1,)}))
    cut = [{**answer, "answer_token_ids": answer["answer_token_ids"][:1]} for answer in ANSWERS]
    first = agreement.agreement(dense, variant, ANSWERS, steps=1)
    assert first.steps == len(ANSWERS)
    assert first == pytest.approx(agreement.agreement(dense, variant, cut, steps=99))
