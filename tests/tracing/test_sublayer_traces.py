"""The one-pass trace equals decoding step by step with one sublayer replaced by hooks."""

import copy
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch

from pair_columns import by_name
from prunescope.measures import comparisons, metrics
from prunescope.model import anatomy, capture, edits, unembedding
from prunescope.storage import store
from prunescope.tracing import sublayer_traces
from tiny import tiny_model
from trace_inputs import PROMPT, SETTINGS, TEMPERATURES, answer_of
from trace_sublayers import trace_prompts


def _halved(model: Any) -> edits.Edit:
    """Every second linear of the blocks at half its weight: an edit of all sublayers."""
    blocks = anatomy.anatomy_of(model).blocks
    linears = [n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)]
    chosen = [f"{n}.weight" for n in linears if n.startswith(blocks)][::2]
    return edits.Edit(tensors={name: model.get_parameter(name) * 0.5 for name in chosen})


def _naive(model: Any, edit: edits.Edit, answer: dict[str, Any]) -> dict[tuple[int, int], Any]:
    """(step, sublayer) -> (h_dense, h_variant): a pass for each step, a run for each sublayer."""
    body = anatomy.anatomy_of(model)
    found = {}
    for step in range(len(answer["answer_token_ids"])):
        ids = torch.tensor([answer["prompt_token_ids"] + answer["answer_token_ids"][:step]])
        for index in range(len(anatomy.blocks_of(model))):
            edited = copy.deepcopy(model)
            for name, tensor in edit.tensors.items():
                if name.startswith(f"{body.blocks}.{index}."):
                    edited.get_parameter(name).copy_(tensor)
            for s, half in ((2 * index, body.attn), (2 * index + 1, body.mlp)):
                dense = _last(model, ids)
                if edit.is_dropped(index, anatomy.SUBLAYERS[s % 2]):
                    found[step, s] = dense[s + 1], dense[s]
                    continue
                touched = f"{body.blocks}.{index}.{half}."
                if not any(name.startswith(touched) for name in edit.tensors):
                    continue
                other = body.mlp if s % 2 == 0 else body.attn
                one = copy.deepcopy(edited)
                plain = anatomy.blocks_of(model)[index].get_submodule(other)
                anatomy.blocks_of(one)[index].set_submodule(other, copy.deepcopy(plain))
                found[step, s] = dense[s + 1], _last(one, ids)[s + 1]
    return found


def _last(model: Any, ids: torch.Tensor) -> list[torch.Tensor]:
    """Residual stream at the last position by plain hooks on the modules, boundary by boundary."""
    body, stream = anatomy.anatomy_of(model), []

    def keep(_: Any, args: Any, kwargs: Any) -> None:
        stream.append((args[0] if args else kwargs["hidden_states"])[0, -1].clone())

    handles = [
        module.register_forward_pre_hook(keep, with_kwargs=True)
        for block in anatomy.blocks_of(model)
        for module in (block, block.get_submodule(body.reads_resid_mid))
    ]
    handles.append(
        anatomy.final_norm_of(model).register_forward_pre_hook(
            lambda _, args: stream.append(args[0][0, -1].clone())
        )
    )
    model(ids)
    for handle in handles:
        handle.remove()
    return stream


@pytest.mark.parametrize("final_norm", [False, True], ids=["lm_head", "final_norm"])
@pytest.mark.parametrize("kind", ["drop", "replace"])
def test_trace_equals_decoding_step_by_step(model, kind, final_norm):
    """All statistics to 1e-9 in float64, from a single teacher-forced pass."""
    drop = edits.Edit(dropped={"attn": (0, 1, 2), "mlp": (0, 2)})
    edit = drop if kind == "drop" else _halved(model)
    answer = answer_of(model)
    unembed = unembedding.readout_of(model, final_norm)
    dense, variant = capture.residuals(model, _context(answer), len(PROMPT) - 1, edit)
    dropped = edit.dropped_sublayers(3)
    found = by_name(sublayer_traces.statistics(dense, variant, dropped, unembed, TEMPERATURES, 64))
    naive = _naive(model, edit, answer)
    sublayers = sublayer_traces.traced(variant, dropped)
    assert {s for _, s in naive} == set(sublayers)
    for (step, s), (h, h_variant) in naive.items():
        at = (step, sublayers.index(s))
        _same(metrics.geometry(h, h_variant - h), "h", found, at)
        z, z_variant = unembed(h[None]), unembed(h_variant[None])
        _same(metrics.geometry(z, z_variant - z), "z", found, at)
        _same(metrics.uniform_shift(z_variant - z), "z", found, at)
        for i, t in enumerate(TEMPERATURES):
            p, q = (z / t).softmax(-1), (z_variant / t).softmax(-1)
            shift = metrics.probability_shift(z, z_variant - z, p, q, t)
            _same(shift, "p", found, (*at, i))


def test_final_norm_gives_the_logits_of_the_model(model):
    """With it, logits of the last state are those of the model; without it, others."""
    dense, _ = capture.residuals(model, torch.tensor(PROMPT), start=0)
    own = model(torch.tensor([PROMPT])).logits[0]
    normed, plain = (unembedding.readout_of(model, way)(dense[:, -1]) for way in (True, False))
    torch.testing.assert_close(normed, own, rtol=1e-9, atol=1e-12)
    assert not torch.allclose(plain, own, rtol=1e-2)


def _context(answer: dict[str, Any]) -> torch.Tensor:
    return torch.tensor(answer["prompt_token_ids"] + answer["answer_token_ids"][:-1])


def _same(expected: Any, space: str, found: Any, at: tuple[int, ...]) -> None:
    for name, value in expected._asdict().items():
        torch.testing.assert_close(
            found[f"{space}.{name}"][at], value.squeeze(), rtol=1e-8, atol=1e-15, msg=name
        )


@pytest.mark.parametrize("memory_mb", [0.024, 0.056, 1, 100])
def test_the_memory_budget_changes_no_number(memory_mb):
    """Statistics do not depend on how rows are divided into products and slabs."""
    model = tiny_model("llama").double()
    answer = answer_of(model)
    edit = edits.Edit(dropped={"attn": (0, 2), "mlp": (0, 1)}, tensors=_halved(model).tensors)
    edit = edits.Edit(edit.dropped, {n: t for n, t in edit.tensors.items() if ".1.self_attn" in n})
    dense, variant = capture.residuals(model, _context(answer), 3, edit)
    unembed = unembedding.Unembedding(anatomy.lm_head_of(model))

    def statistics(budget: float) -> Any:
        return sublayer_traces.statistics(
            dense, variant, edit.dropped_sublayers(3), unembed, TEMPERATURES, budget
        )

    reference, found = by_name(statistics(1000)), by_name(statistics(memory_mb))
    for name, value in reference.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-14)


def test_error_for_a_small_memory_budget_gives_the_minimum():
    """The job neither thrashes nor exceeds its budget."""
    with pytest.raises(ValueError, match=r"needs \d+\. Raise it"):
        comparisons.rows_within(1, 150_000)


def test_consecutive_drops_share_their_products():
    """60 consecutive dropped sublayers need 61 rows of lm_head per position instead of 120."""
    (product,) = sublayer_traces.plan(range(60), [], max_rows=512)
    assert len(product.sources) == 61
    assert sum(len(slab.pairs) for slab in product.slabs) == 60


def test_rows_match_the_schema_and_have_unique_keys(tmp_path):
    """The temperature is NULL exactly for statistics that do not depend on it."""
    model = tiny_model("qwen2")
    edit = edits.Edit(dropped={"attn": (0, 1, 2), "mlp": (0, 1, 2)})
    answers = [answer_of(model), {**answer_of(model, steps=1), "prompt": "q"}]
    tables = list(trace_prompts(model, edit, answers, SETTINGS))
    trace = pa.concat_tables(t for t, _ in tables)
    shift = pa.concat_tables(s for _, s in tables)
    assert trace.num_rows == 6 * 6 * (2 + len(TEMPERATURES))
    assert shift.num_rows == 6 * 6 * (1 + len(TEMPERATURES))
    key = ["prompt", "step", "block", "sublayer", "temperature", "space"]
    assert trace.group_by(key).aggregate([]).num_rows == trace.num_rows
    no_temperature = trace.filter(pc.field("temperature").is_null())
    assert set(no_temperature["space"].to_pylist()) == {"embedding", "logit"}
    store.write(tmp_path / "t.parquet", trace, "sublayer_trace", {})
    store.write(tmp_path / "s.parquet", shift, "logit_shift", {})


def test_the_identity_has_no_rows():
    """An empty edit changes no sublayer, which is not an error."""
    model = tiny_model("llama")
    tables = trace_prompts(model, edits.Edit(), [answer_of(model)], SETTINGS)
    assert list(tables) == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_models_are_measured_in_float32(dtype):
    """Logits are not rounded again: statistics are those of the same weights in float32."""
    half = tiny_model("llama").to(dtype)
    wide = copy.deepcopy(half).float()
    dropped = range(6)
    dense, variant = capture.residuals(half, torch.tensor(PROMPT), start=0)
    assert dense.dtype == dtype
    found = sublayer_traces.statistics(
        dense, variant, dropped, unembedding.Unembedding(half.lm_head), TEMPERATURES, 64
    )
    expected = sublayer_traces.statistics(
        dense.float(), variant, dropped, unembedding.Unembedding(wide.lm_head), TEMPERATURES, 64
    )
    for name, value in by_name(expected).items():
        torch.testing.assert_close(by_name(found)[name], value, rtol=1e-3, atol=1e-7, msg=name)
