"""The parts of Δo equal sums over attention weights and values computed by transformers."""

from unittest import mock

import numpy as np
import pyarrow.compute as pc
import pytest
import torch

from prunescope.model import edits, loading
from prunescope.model.anatomy import anatomy_of, blocks_of
from prunescope.storage import store
from prunescope.tracing import attention_error, histories
from prunescope.tracing.attention_error import KEYS, PATHS
from tiny import tiny_model

IDS = torch.randint(3, 100, (11,), generator=torch.Generator().manual_seed(4))
START = 6  # the last of seven prompt tokens
STEPS = len(IDS) - START
D_HEAD, HEADS, KV_HEADS = 6, 4, 2
QUERIES = HEADS // KV_HEADS
EPSILON = 1e-6  # transformers' norms round to float32, whatever the model's dtype


def _attn(model, block):
    return f"{anatomy_of(model).blocks}.{block}.{anatomy_of(model).attn}"


def _noisy(model, named):
    """An edit that moves the parameters whose name `named` accepts."""
    generator = torch.Generator().manual_seed(5)
    return edits.Edit(
        tensors={
            name: p + 0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
            for name, p in model.named_parameters()
            if named(name)
        }
    )


def _every_linear(model):
    return _noisy(model, lambda name: "proj" in name)


def _rows_of_qkv(model, part):
    """Rows of q, k or v in the linear that makes it, and that linear's name in attention."""
    width, own = HEADS * D_HEAD, KV_HEADS * D_HEAD
    if model.config.model_type != "phi3":
        return f"{part}_proj", slice(None)
    first, size = {"q": (0, width), "k": (width, own), "v": (width + own, own)}[part]
    return "qkv_proj", slice(first, first + size)


def _only(model, part, block=1, heads=slice(None)):
    """An edit of nothing but q, k or v of one block, at some of its heads."""
    linear, rows = _rows_of_qkv(model, part)
    name = f"{_attn(model, block)}.{linear}.weight"
    weight = model.get_parameter(name).clone()
    weight[rows].unflatten(0, (-1, D_HEAD))[heads] *= 0.5
    return edits.Edit(tensors={name: weight})


def _softmax(scores, dim, dtype):
    """transformers asks for float32: stay in float64."""
    assert dtype == torch.float32
    return scores.softmax(dim)


class _Seen:
    """Weights, values and outputs of a plain eager pass of transformers, by block."""

    def __init__(self, model, places=(0, 1, 2)):
        self.values, self.outputs, handles = {}, {}, []
        for place, block in zip(places, blocks_of(model), strict=True):
            attention = block.get_submodule(anatomy_of(model).attn)
            if not hasattr(attention, "o_proj"):
                continue
            linear, rows = _rows_of_qkv(model, "v")

            def value(module, args, out, place=place, rows=rows):
                self.values[place] = out[0][:, rows].numpy()

            def output(module, args, place=place):
                self.outputs[place] = args[0][0].numpy()

            handles.append(attention.get_submodule(linear).register_forward_hook(value))
            handles.append(attention.o_proj.register_forward_pre_hook(output))
        usual = model.config._attn_implementation
        model.set_attn_implementation("eager")
        with mock.patch("torch.nn.functional.softmax", _softmax):
            weights = model(IDS[None], use_cache=False, output_attentions=True).attentions
        model.set_attn_implementation(usual)
        for handle in handles:
            handle.remove()
        found = [each[0].numpy() for each in weights if each is not None]
        self.weights = dict(zip(sorted(self.outputs), found, strict=True))


def _expected(dense, variant, block):
    """(step, head group) -> parts by (path, keys), key by key and head by head, and o and Δo."""
    alpha, v = dense.weights[block], dense.values[block]
    delta_alpha, delta_v = variant.weights[block] - alpha, variant.values[block] - v
    found = {}
    for step in range(STEPS):
        for group in range(KV_HEADS):
            parts = {(path, keys): [] for path in PATHS for keys in KEYS}
            for head in range(group * QUERIES, (group + 1) * QUERIES):
                sums = {each: np.zeros(D_HEAD) for each in parts}
                for key in range(START + step + 1):
                    at = (head, START + step, key)
                    own = slice(group * D_HEAD, (group + 1) * D_HEAD)
                    stands = "prompt" if key <= START else "generated"
                    sums["value", stands] += alpha[at] * delta_v[key, own]
                    sums["weight", stands] += delta_alpha[at] * v[key, own]
                    sums["interaction", stands] += delta_alpha[at] * delta_v[key, own]
                for each, total in sums.items():
                    parts[each].append(total)
            heads = slice(group * QUERIES * D_HEAD, (group + 1) * QUERIES * D_HEAD)
            output = dense.outputs[block][START + step, heads]
            delta = variant.outputs[block][START + step, heads] - output
            found[step, group] = (
                {each: np.concatenate(sums) for each, sums in parts.items()},
                output,
                delta,
            )
    return found


def _check(rows, dense, variant, blocks):
    """Every row against the plain sums, every sum of shares against one."""
    seen = {
        tuple(row[k] for k in ("block", "step", "head_group", "path", "keys")): row
        for row in rows.to_pylist()
    }
    assert len(seen) == rows.num_rows == len(blocks) * STEPS * KV_HEADS * 6
    for block in blocks:
        for (step, group), (parts, output, delta) in _expected(dense, variant, block).items():
            np.testing.assert_allclose(sum(parts.values()), delta, rtol=EPSILON, atol=EPSILON)
            shares = 0.0
            for (path, keys), part in parts.items():
                row = seen[block, step, group, path, keys]
                norm = np.linalg.norm(part) / np.linalg.norm(output)
                assert row["relative_norm"] == pytest.approx(norm, rel=EPSILON, abs=EPSILON)
                share = part @ delta / (delta @ delta)
                assert row["share"] == pytest.approx(share, rel=EPSILON, abs=10 * EPSILON)
                shares += row["share"]
            assert shares == pytest.approx(1, abs=1e-12)


def _rows(dense, variant, history="teacher_forced"):
    return attention_error.as_table("gen1", history, START, dense.attended, variant, dense.scoring)


def _edited(model, edit):
    return _rows(
        histories.run(model, IDS),
        attention_error.edited_attention(model, IDS, edit),
        "edited_sublayer",
    )


def _where(rows, **values):
    for name, value in values.items():
        rows = rows.filter(pc.equal(rows[name], value))
    return rows


def _norms(rows, **values):
    return _where(rows, **values)["relative_norm"].to_numpy()


WHOLE = [  # what is dropped (nothing: linears are edited), the first block where attention moves
    ({}, 0),
    ({"attn": (1,)}, 2),
    ({"block": (0,)}, 1),
    ({"mlp": (0,)}, 1),
    ({"attn": (0,), "block": (1,)}, 2),
]


@pytest.mark.parametrize(("dropped", "first"), WHOLE)
def test_parts_of_a_variant_equal_plain_sums(model, dropped, first):
    """Both models run in transformers, and the sums are over single keys."""
    edit = edits.Edit(dropped, {} if dropped else _every_linear(model).tensors)
    variant = loading.apply_edit(model, edit)
    rows = _rows(histories.run(model, IDS), histories.run(variant, IDS, edit).attended)
    left = [block for block in range(3) if block not in attention_error.dropped_attention(edit, 3)]
    assert sorted(set(rows["block"].to_pylist())) == left
    has_moved = pc.greater_equal(rows["block"], first)
    places = [block for block in range(3) if block not in dropped.get("block", ())]
    moved = [block for block in left if block >= first]
    _check(rows.filter(has_moved), _Seen(model), _Seen(variant, places), moved)
    before = rows.filter(pc.invert(has_moved))
    assert before["share"].null_count == before.num_rows
    assert not before["relative_norm"].to_numpy().any()


def _outputs(model):
    """What each o_proj is given in a pass as transformers usually runs it."""
    found = []
    for block in blocks_of(model):
        linear = block.get_submodule(anatomy_of(model).attn_out)
        linear.register_forward_pre_hook(lambda _, args: found.append(args[0][0].numpy()))
    assert model.config._attn_implementation == "sdpa"
    model(IDS[None], use_cache=False)
    return found


def test_parts_sum_to_the_inputs_of_o_proj(model):
    """Heads are in the order in which o_proj reads them."""
    edit = _every_linear(model)
    variant = loading.apply_edit(model, edit)
    dense_pass, whole = histories.run(model, IDS), histories.run(variant, IDS, edit)
    dense, moved = _outputs(model), _outputs(variant)
    for block in range(3):
        attended = (dense_pass.attended[block], whole.attended[block])
        rows = slice(START, None)
        found = attention_error.split(*attended, dense_pass.scoring[block], START, rows)
        for sums, expected in (
            (found.output, dense[block]),
            (found.parts.sum((0, 1)), moved[block] - dense[block]),
        ):
            heads = sums.transpose(0, 1).flatten(1).numpy()
            np.testing.assert_allclose(heads, expected[rows], rtol=EPSILON, atol=EPSILON)


def test_rows_of_a_block_equal_those_of_editing_it_alone(model):
    """The only edit of the compared variant is the attention of that block."""
    edit = _every_linear(model)
    rows = _edited(model, edit)
    dense = _Seen(model)
    for block in range(3):
        prefix = f"{_attn(model, block)}."
        alone = edits.Edit(tensors={n: t for n, t in edit.tensors.items() if n.startswith(prefix)})
        variant = _Seen(loading.apply_edit(model, alone))
        _check(_where(rows, block=block), dense, variant, [block])


def test_the_norm_before_attention_belongs_to_it():
    """In pre-norm models, q, k and v are computed after the edited norm."""
    model = tiny_model("llama").double()
    edit = _noisy(model, lambda name: name.endswith("layers.1.input_layernorm.weight"))
    variant = _Seen(loading.apply_edit(model, edit))
    _check(_edited(model, edit), _Seen(model), variant, [1])


def test_the_identity_has_no_attention_error(model):
    """Zeros to the last bit and NULL shares, alone and as a whole variant."""
    same = edits.Edit(tensors={n: p.clone() for n, p in model.named_parameters() if "proj" in n})
    dense = histories.run(model, IDS)
    whole = _rows(dense, histories.run(loading.apply_edit(model, same), IDS, same).attended)
    for rows in (whole, _edited(model, same)):
        assert rows.num_rows == 3 * STEPS * KV_HEADS * 6
        assert not rows["relative_norm"].to_numpy().any()
        assert rows["share"].null_count == rows.num_rows


@pytest.mark.parametrize(("part", "moved"), [("v", "value"), ("q", "weight"), ("k", "weight")])
def test_editing_values_or_weights_changes_one_path(model, part, moved):
    """An edit of v keeps α, and one of q or k keeps v: other paths are exactly zero."""
    rows = _edited(model, _only(model, part))
    assert set(rows["block"].to_pylist()) == {1}
    for path in PATHS:
        assert _norms(rows, path=path, keys="prompt").any() == (path == moved)
    shares = [_where(rows, path=moved, keys=keys)["share"].to_numpy() for keys in KEYS]
    np.testing.assert_allclose(sum(shares), 1, atol=1e-12)


def test_editing_values_changes_only_their_group(model):
    """Key-value head 1 belongs to the last two query heads."""
    rows = _edited(model, _only(model, "v", heads=[1]))
    assert not _norms(rows, head_group=0).any()
    assert _where(rows, head_group=0)["share"].null_count == STEPS * 6
    assert _norms(rows, head_group=1, path="value", keys="prompt").any()


def test_editing_a_query_head_changes_only_its_group(model):
    """Query head 1 reads key-value head 0; OLMo 2 normalises all queries together."""
    rows = _edited(model, _only(model, "q", heads=[1]))
    assert _norms(rows, head_group=0).any()
    assert _norms(rows, head_group=1).any() == (model.config.model_type == "olmo2")


def test_at_step_zero_no_generated_token_is_visible(model):
    """The last token of the prompt reads the prompt alone; the next token also reads itself."""
    rows = _edited(model, _every_linear(model))
    assert not _norms(rows, step=0, keys="generated").any()
    assert _norms(rows, step=0, keys="prompt").all()
    assert _norms(rows, step=1, keys="generated", path="value").all()


def test_a_sliding_window_moves_beyond_the_prompt():
    """With a window of 4, position 10 reads 7 to 10, all of them generated."""
    model = tiny_model("mistral").double()
    edit = _every_linear(model)
    whole = histories.run(loading.apply_edit(model, edit), IDS, edit).attended
    for rows in (_edited(model, edit), _rows(histories.run(model, IDS), whole)):
        assert _norms(rows, step=3, keys="prompt").all()
        assert not _norms(rows, step=4, keys="prompt").any()
        assert _norms(rows, step=4, keys="generated").all()


def test_dropped_attention_is_left_out_and_reported(model):
    """Alone or with its block, and whether other sublayers are edited or not."""
    edit = edits.Edit({"attn": (0,), "block": (2,)}, _every_linear(model).tensors)
    assert attention_error.dropped_attention(edit, 3) == [0, 2]
    assert list(attention_error.edited_attention(model, IDS, edit)) == [1]


def test_edits_without_attention_give_an_empty_table(model):
    """Edited MLPs, embeddings or lm_head; the table has the right columns."""
    edit = _noisy(model, lambda name: "mlp" in name or "embed" in name or "lm_head" in name)
    assert attention_error.edited_attention(model, IDS, edit) == {}
    assert _edited(model, edit).num_rows == 0
    variant = loading.apply_edit(model, edit)
    rows = _rows(histories.run(model, IDS), histories.run(variant, IDS, edit).attended)
    assert rows["share"].null_count == 0


def test_the_chunk_size_changes_nothing(model, monkeypatch):
    edit = _every_linear(model)
    whole = _edited(model, edit)
    monkeypatch.setattr(attention_error, "WEIGHTS_AT_ONCE", 2 * HEADS * len(IDS))
    in_chunks = _edited(model, edit)
    for name in ("relative_norm", "share"):
        np.testing.assert_allclose(in_chunks[name], whole[name], rtol=1e-12, atol=1e-14)
    assert in_chunks.drop(["relative_norm", "share"]) == whole.drop(["relative_norm", "share"])


def test_one_history_at_a_time_is_traced(model):
    """Teacher forcing beside other histories equals teacher forcing alone; two are refused."""
    edit = _every_linear(model)
    dense, variant = histories.run(model, IDS), loading.apply_edit(model, edit)
    which = list(histories.ON_DENSE_TOKENS)
    masks = torch.stack([of(len(IDS), START) for of in histories.ON_DENSE_TOKENS.values()])
    mixed = histories.run(variant, IDS, edit, dense.attended, masks).attended
    chosen = {b: each.under(which.index("teacher_forced")) for b, each in mixed.items()}
    alone = _rows(dense, histories.run(variant, IDS, edit).attended)
    found = _rows(dense, chosen)
    np.testing.assert_allclose(found["relative_norm"], alone["relative_norm"], atol=EPSILON)
    with pytest.raises(ValueError, match="3 histories"):
        _rows(dense, mixed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sums_have_more_precision_than_the_model(dtype, tmp_path):
    """bfloat16 has 8 bits, but shares sum to 1 with 12 digits; the store accepts the rows."""
    model = tiny_model("qwen3").to(dtype)
    edit = edits.Edit(tensors={n: p * 0.75 for n, p in model.named_parameters() if "_proj" in n})
    rows = _edited(model, edit)
    shares = rows["share"].to_numpy().reshape(-1, 6)
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-12)
    store.write(tmp_path / "part.parquet", rows, "attention_error", {})
    assert store.read(tmp_path / "part.parquet", "attention_error").num_rows == rows.num_rows


def test_the_model_is_restored_after_an_error(model):
    """Weights and attention function are those from before the interrupted run."""
    before = {name: p.clone() for name, p in model.named_parameters()}
    usual = model.config._attn_implementation
    attention_error.edited_attention(model, IDS, _every_linear(model))
    assert model.config._attn_implementation == usual
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
