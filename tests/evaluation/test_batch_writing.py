"""Texts of a batch are those that each context has alone, and ended ones are not written on."""

import itertools

import pytest
import torch

from prunescope.evaluation import batch_writing
from prunescope.evaluation.batch_writing import RoomyLayer, groups_of_similar_length
from prunescope.model import edits, loading
from tiny import ARCHITECTURES, CAPPED, DROPPABLE, make_tiny_model

SHARED = [41, 42, 43, 44]
ENDS = [[7, 8, 9, 10, 11, 12], [13, 14, 15], [16, 17], [18], [19]]
CONTEXTS = [SHARED + end for end in ENDS]
GROUPS = [slice(0, 1), slice(1, 3), slice(3, 5)]
MOST = 9


def alone(model, context, has_ended):
    text = []
    while len(text) < MOST and not (text and has_ended(text)):
        ids = torch.tensor([[*context, *text]])
        with torch.inference_mode():
            text.append(int(model(input_ids=ids).logits[0, -1].argmax()))
    return text


@pytest.mark.parametrize("n_shared", [0, 4])
@pytest.mark.parametrize("edit", [edits.Edit(), edits.Edit({"attn": (0, 2), "mlp": (1,)})])
@pytest.mark.parametrize("architecture", (*ARCHITECTURES, *CAPPED, *DROPPABLE))
def test_texts_are_those_of_each_context_alone(tmp_path, architecture, edit, n_shared):
    dense = loading.load(make_tiny_model(tmp_path, architecture), "float32", torch.device("cpu"))
    model = loading.apply_edit(dense, edit)
    slides = getattr(model.config, "sliding_window", None) is not None

    def has_ended(text):  # after 1 to 9 tokens, depending on the text
        return len(text) > sum(text[:2]) % MOST

    found = batch_writing.texts_after(
        model,
        CONTEXTS,
        [slice(0, 5)] if slides else GROUPS,
        0 if slides else n_shared,
        MOST,
        has_ended,
    )
    assert found == [alone(model, context, has_ended) for context in CONTEXTS]


def test_a_text_that_has_ended_costs_nothing_more(tmp_path):
    """With every step, at least one of four texts ends; the rows of the passes shrink."""
    model = loading.load(make_tiny_model(tmp_path), "float32", torch.device("cpu"))
    rows = []
    model.register_forward_pre_hook(
        lambda _, args, kwargs: rows.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    lengths = iter([1, 2, 3, 4])
    limit = {}

    def has_ended(text):
        return len(text) >= limit.setdefault(id(text), next(lengths, 0))

    texts = batch_writing.texts_after(model, CONTEXTS[1:], [slice(0, 4)], 0, MOST, has_ended)
    assert [len(text) for text in texts] == [1, 2, 3, 4]
    assert rows == [(4, 7), (3, 1), (2, 1), (1, 1)]


def test_room_holds_what_is_written_into_it():
    """Keys and values are those of concatenation, also after rows have left."""
    torch.manual_seed(0)
    first, second, third = (torch.randn(4, 2, n, 8) for n in (5, 1, 1))
    layer = RoomyLayer(first, -first, room=2)
    assert layer.get_seq_length() == 5
    layer.update(second, -second)
    layer.batch_select_indices(torch.tensor([0, 3]))
    keys, values = layer.update(third[[0, 3]], -third[[0, 3]])
    expected = torch.cat([first, second, third], dim=2)[[0, 3]]
    assert torch.equal(keys, expected)
    assert torch.equal(values, -expected)


def test_groups_contain_texts_of_similar_length():
    """Groups keep the order and their limit on padding, and none is too small."""
    lengths = [494, 286, 274, 255, 216, 205, 204, 174, 164, 156, 148, 106, 102, 89, 63, 50]

    def padding(texts):
        return sum(texts[0] - length for length in texts)

    for most in (0, 144, 10_000):
        groups = groups_of_similar_length(lengths, most)
        assert [length for some in groups for length in lengths[some]] == lengths
        for some, after in itertools.pairwise([*groups, None]):
            assert padding(lengths[some]) <= most
            if after is not None:
                assert padding(lengths[some.start : some.stop + 1]) > most
    assert groups_of_similar_length([], 10) == []


@pytest.mark.parametrize(
    ("contexts", "common"),
    [
        ([[7, 8, 1], [7, 8, 2, 3]], [7, 8]),
        ([[7, 8], [7, 8, 2]], [7]),  # a token of each remains to be read
        ([[7], [7]], []),
        ([[1, 2], [2, 2]], []),
    ],
)
def test_a_common_start_is_shorter_than_every_context(contexts, common):
    assert batch_writing.common_start(contexts) == common
