"""Blocks see what the model, edited so far, would show them, and no more is run or held."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import linear_inputs
from prunescope.compression import methods
from prunescope.compression.blockwise import BlockWalk, Calibration, ColumnNorms
from prunescope.model import anatomy
from prunescope.model.replacements import Masked
from tiny import tiny_model

IDS = torch.randint(3, 100, (5, 9), generator=torch.Generator().manual_seed(1))


class AllInputs:
    """A statistic that keeps every input."""

    def __init__(self, in_features, device):
        self.seen = []

    def add(self, x):
        self.seen.append(x.clone())

    def merge(self, other):
        self.seen += other.seen

    @staticmethod
    def memory(in_features, workers):
        return 0


def _halving(walk, keep_inputs=None):
    """Zero every other row of each linear, block by block; collect what the blocks were shown."""
    for index, block in enumerate(walk):
        for group in block.groups:
            if keep_inputs is not None:
                for name in group.names:
                    keep_inputs[index, name] = torch.cat(group.inputs.seen)
            for linear in group.linears:
                keep = torch.ones_like(linear.weight, dtype=torch.bool)
                keep[::2] = False
                block.replace(linear, Masked.by(keep))
    return walk.result("halving")


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_inputs_are_those_of_the_model_edited_so_far(model, attention):
    """Each linear's inputs equal a hook's in a whole pass of the model with earlier edits only."""
    model.config._attn_implementation = attention
    shown = {}
    edit, _ = _halving(BlockWalk(model, Calibration(IDS, tokens_together=18), AllInputs), shown)
    assert sorted(shown) == sorted((i, name) for i, name, _ in linear_inputs.own_linears(model))
    for block in range(3):
        before = linear_inputs.before(edit, model, block)
        for name, x in linear_inputs.of_block(model, before, block, IDS).items():
            torch.testing.assert_close(shown[block, name], x)


def test_linears_with_one_input_share_a_group():
    """q, k and v; gate and up; the two outputs alone."""
    walk = BlockWalk(tiny_model("llama"), Calibration(IDS), ColumnNorms)
    groups = [" ".join(sorted(group.names)) for group in next(iter(walk)).groups]
    assert groups == [
        "self_attn.k_proj self_attn.q_proj self_attn.v_proj",
        "self_attn.o_proj",
        "mlp.gate_proj mlp.up_proj",
        "mlp.down_proj",
    ]


def test_no_product_is_run_that_no_one_needs(monkeypatch):
    """Per micro-batch: six linears to see their inputs, seven to go on, none after the last."""
    model, products = tiny_model("llama"), []
    run = torch.nn.functional.linear
    monkeypatch.setattr(
        torch.nn.functional, "linear", lambda *args: (products.append(1), run(*args))[1]
    )
    for _ in BlockWalk(model, Calibration(IDS, tokens_together=18), ColumnNorms):
        pass
    assert len(products) == 3 * (3 * 6 + 2 * 7)


def test_dense_model_stays_as_it_is(model):
    """Bit by bit, and able to run."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    logits = model(IDS).logits
    _halving(BlockWalk(model, Calibration(IDS), ColumnNorms))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(logits, model(IDS).logits)


def test_relative_output_error_is_that_of_its_definition(model):
    """Half the rows zero, all tokens sampled: |(Ŵ - W) X| / |W X| from hooks."""
    edit, report = _halving(BlockWalk(model, Calibration(IDS), ColumnNorms))
    for row in report.to_pylist():
        before = linear_inputs.before(edit, model, row["block"])
        x = linear_inputs.of_block(model, before, row["block"], IDS)[row["linear"]]
        full = f"{anatomy.anatomy_of(model).blocks}.{row['block']}.{row['linear']}.weight"
        y = x @ model.get_parameter(full).T
        lost = y[:, ::2].norm() / y.norm()
        assert row["relative_output_error"] == pytest.approx(float(lost), rel=1e-4)
        assert row["sparsity"] == pytest.approx(0.5, abs=0.03)
        assert row["sublayer"] == ("mlp" if row["linear"].startswith("mlp") else "attn")


@pytest.mark.parametrize("tokens_together", [1, 18, 10_000])
def test_micro_batches_change_nothing_beyond_rounding(tokens_together):
    calibration = Calibration(IDS, tokens_together=tokens_together)
    norms = [
        block.groups[-1].inputs.norms()
        for block in BlockWalk(tiny_model("llama"), calibration, ColumnNorms)
    ]
    whole = [
        block.groups[-1].inputs.norms()
        for block in BlockWalk(tiny_model("llama"), Calibration(IDS), ColumnNorms)
    ]
    torch.testing.assert_close(norms, whole)


@pytest.mark.parametrize("tokens_together", [1, 18])
def test_errors_are_measured_on_tokens_of_every_micro_batch(tokens_together):
    """All of them here, as few as they are: the report is the same however they are cut."""
    model = tiny_model("llama").double()
    cut = Calibration(IDS, tokens_together=tokens_together)
    _, report = _halving(BlockWalk(model, cut, ColumnNorms))
    _, whole = _halving(BlockWalk(model, Calibration(IDS), ColumnNorms))
    for row, other in zip(report.to_pylist(), whole.to_pylist(), strict=True):
        assert row["relative_output_error"] == pytest.approx(other["relative_output_error"])


def test_forward_dtype_is_of_passes_and_not_of_weights():
    """Inputs are rounded to bfloat16; the weight a method sees is the model's own."""
    model = tiny_model("llama")
    walk = BlockWalk(model, Calibration(IDS, dtype=torch.bfloat16), AllInputs)
    for index, block in enumerate(walk):
        assert {x.dtype for group in block.groups for x in group.inputs.seen} == {torch.bfloat16}
        for linear in block.linears():
            assert torch.equal(linear.weight, model.get_parameter(f"{linear.name}.weight"))
        assert index < 3


def _on_threads(threads, walked):
    """What `walked` returns where torch has so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return walked()
    finally:
        torch.set_num_threads(before)


def test_micro_batches_side_by_side_show_each_linear_its_own_inputs(model):
    """Five sequences that differ, two at once: every input once, in the order of sequences."""

    def walked():
        shown = {}
        _halving(BlockWalk(model, Calibration(IDS, tokens_together=9), AllInputs), shown)
        return shown

    one, two = _on_threads(1, walked), _on_threads(2, walked)
    assert list(one) == list(two)
    for name, inputs in one.items():
        torch.testing.assert_close(two[name], inputs)


def test_statistics_and_samples_do_not_depend_on_threads():
    """Sums of squares but for their last bits; samples row by row."""

    def walked():
        walk = BlockWalk(tiny_model("llama"), Calibration(IDS, tokens_together=9), ColumnNorms)
        return [(g.names, g.inputs.norms(), g.sample) for block in walk for g in block.groups[:]]

    for one, two in zip(_on_threads(1, walked), _on_threads(2, walked), strict=True):
        assert one[0] == two[0]
        torch.testing.assert_close(one[1], two[1], rtol=1e-6, atol=0)
        torch.testing.assert_close(one[2], two[2], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ["wanda", "magnitude", "rtn", "sparsegpt", "awq", "neuron"])
def test_methods_report_alike_on_any_number_of_threads(method):
    """Linears in the same order, with the same sparsity and error."""
    settings = {"bits": 4, "group_size": 8} if method in ("rtn", "awq") else {"sparsity": 0.5}

    def compressed():
        calibration = Calibration(IDS, tokens_together=9)
        return methods.load(method)(tiny_model("llama").double(), calibration, **settings)

    (one, report), (two, other) = _on_threads(1, compressed), _on_threads(2, compressed)
    assert list(one.tensors) == list(two.tensors)
    numbers = ["sparsity", "mean_importance", "relative_output_error"]
    assert report.drop_columns(numbers) == other.drop_columns(numbers)
    for row, same in zip(report.to_pylist(), other.to_pylist(), strict=True):
        for number in numbers:
            expected = same[number] and pytest.approx(same[number], rel=1e-4)
            assert row[number] == expected, number


def test_two_workers_hold_two_micro_batches():
    """And no more workers are counted than there are micro-batches."""

    def counted(sequences):
        calibration = Calibration(IDS[:sequences], tokens_together=9)
        return BlockWalk(tiny_model("llama"), calibration, ColumnNorms).estimate()

    one, two, alone = (_on_threads(t, lambda n=n: counted(n)) for t, n in ((1, 5), (2, 5), (2, 1)))
    assert two.micro_batches == 2 * one.micro_batches == 2 * alone.micro_batches
    assert two.statistics == 2 * one.statistics


class _LargestTensor(TorchDispatchMode):
    """The most elements any operation returns."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.elements = max(self.elements, out.numel())
        return out


@pytest.mark.parametrize("architecture", ["mistral", "llama"])
def test_context_length_of_the_model_is_never_allocated(architecture):
    """A model for 2²⁰ tokens takes no more than one for 4096: calibration has 9."""
    largest = []
    for length in (4096, 2**20):
        model = tiny_model(architecture, max_position_embeddings=length)
        with _LargestTensor() as watch:
            _halving(BlockWalk(model, Calibration(IDS), ColumnNorms))
        largest.append(watch.elements)
    assert largest[0] == largest[1]


def test_estimate_counts_model_block_activations_and_statistics():
    """Numbers a reader can check by hand: d 24, d_ff 40, 45 tokens, float32."""
    model = tiny_model("llama")
    found = BlockWalk(model, Calibration(IDS), ColumnNorms).estimate()  # one micro-batch
    assert found.model == 4 * sum(p.numel() for p in model.parameters())
    assert found.activations == 4 * 45 * 24
    assert found.statistics == 8 * (24 + 40)
    assert str(found).endswith(")")


def test_nan_in_a_weight_is_named():
    model = tiny_model("llama")
    model.model.layers[1].mlp.up_proj.weight[3, 5] = torch.nan
    with pytest.raises(ValueError, match=r"layers\.1\.mlp\.up_proj.* holds NaN"):
        _halving(BlockWalk(model, Calibration(IDS), ColumnNorms))


def test_an_edit_that_overflows_is_named():
    """Nothing that is not finite flows on."""
    walk = BlockWalk(tiny_model("llama"), Calibration(IDS), None)
    with pytest.raises(ValueError, match=r"self_attn\.q_proj: the edited weight holds NaN"):
        for block in walk:
            linear = block.linear("self_attn.q_proj")
            block.replace(linear, torch.full_like(linear.weight, torch.inf))


def test_methods_without_statistics_run_an_excerpt():
    """A sixteenth of the sequences, at least one."""
    ids = torch.randint(3, 100, (40, 6))
    walk = BlockWalk(tiny_model("llama"), Calibration(ids), None)
    assert walk.calibration.token_ids.shape == (3, 6)
