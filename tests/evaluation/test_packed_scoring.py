"""A pack of texts gives the likelihoods that each of its texts has alone."""

import pytest
import torch

from prunescope.evaluation import packed_scoring
from prunescope.evaluation.packed_scoring import Item
from prunescope.model import edits, loading
from tiny import ARCHITECTURES, CAPPED, DROPPABLE, make_tiny_model

PACK = [
    Item((11, 12, 13), [4, 0, 2], [[20, 21, 22], [23], [20, 24]]),
    Item((14,), [1], [[25, 26, 27, 28]]),
    Item((11, 12, 15, 16, 17), [3, 5], [[29], [30, 31]]),
]


def alone(model, context, continuation):
    """Log-likelihood of a continuation, and whether it is the greedy one, from a whole sequence."""
    ids = torch.tensor([[*context, *continuation]])
    with torch.inference_mode():
        log_p = model(input_ids=ids).logits[0].double().log_softmax(-1)
    rows = range(len(context) - 1, ids.shape[1] - 1)
    greedy = [int(log_p[row].argmax()) for row in rows]
    likelihood = sum(float(log_p[row, t]) for row, t in zip(rows, continuation, strict=True))
    return likelihood, greedy == continuation


@pytest.mark.parametrize("edit", [edits.Edit(), edits.Edit({"attn": (0, 2), "mlp": (1,)})])
@pytest.mark.parametrize("architecture", (*ARCHITECTURES, *CAPPED, *DROPPABLE))
def test_a_pack_gives_the_likelihoods_of_whole_sequences(tmp_path, architecture, edit):
    dense = loading.load(make_tiny_model(tmp_path, architecture), "float32", torch.device("cpu"))
    model = loading.apply_edit(dense, edit)
    window = getattr(model.config, "sliding_window", None)
    if window is not None and window < 5 + 1:
        pytest.skip("such a model does not see whole items, which are left to lm-eval")
    found = dict(packed_scoring.answers(model, PACK))
    assert sorted(found) == list(range(6))
    for item in PACK:
        for request, continuation in zip(item.requests, item.continuations, strict=True):
            likelihood, is_greedy = alone(model, item.context, continuation)
            assert found[request][0] == pytest.approx(likelihood, abs=1e-4)
            assert found[request][1] == is_greedy


def test_the_greedy_continuation_is_recognised(tmp_path):
    model = loading.load(make_tiny_model(tmp_path), "float32", torch.device("cpu"))
    context = (11, 12, 13)
    with torch.inference_mode():
        ids = torch.tensor([context])
        for _ in range(3):
            best = model(input_ids=ids).logits[:, -1:].argmax(-1)
            ids = torch.cat([ids, best], dim=1)
    best = ids[0, 3:].tolist()
    other = [*best[:-1], best[-1] + 1]
    found = dict(packed_scoring.answers(model, [Item(context, [0, 1], [best, other])]))
    assert (found[0][1], found[1][1]) == (True, False)
    assert found[0][0] > found[1][0]


def test_a_token_sees_its_own_text_and_nothing_else():
    """Row by row: the texts that a token continues, as sums of what it sees."""
    placed = packed_scoring.layout(PACK)
    visible = packed_scoring.visible(placed)
    seen = [placed.token_ids[row].tolist() for row in visible]
    assert seen == [
        [11],
        [11, 12],
        [11, 12, 13],
        [11, 12, 13, 20],
        [11, 12, 13, 20, 21],
        [11, 12, 13, 20],
        [14],
        [14, 25],
        [14, 25, 26],
        [14, 25, 26, 27],
        *[[11, 12, 15, 16, 17][: n + 1] for n in range(5)],
        [11, 12, 15, 16, 17, 30],
    ]
    assert [len(row) - 1 for row in seen] == placed.positions.tolist()
    assert placed.predicted_at == [[2, 3, 4], [2], [2, 5], [6, 7, 8, 9], [14], [14, 15]]


def test_packs_keep_the_order_and_the_limit():
    items = [Item((0,) * n, [0], [[1]]) for n in (9, 4, 4, 2, 7, 1)]
    found = [[item.n_tokens for item in pack] for pack in packed_scoring.packs(items, 8)]
    assert found == [[9], [4, 4], [2], [7, 1]]
