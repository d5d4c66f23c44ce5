"""A block walk shows each block the inputs that it gets in the model with all earlier edits."""

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
    """A statistic that stores all inputs."""

    def __init__(self, in_features, device):
        self.inputs = []

    def add(self, x):
        self.inputs.append(x.clone())

    def merge(self, other):
        self.inputs += other.inputs

    @staticmethod
    def memory(in_features, workers):
        return 0


def _zero_half_the_rows(walk, inputs=None):
    """Set every other row of each linear to zero, and collect the inputs of linears in `inputs`."""
    for index, block in enumerate(walk):
        for group in block.groups:
            if inputs is not None:
                for name in group.names:
                    inputs[index, name] = torch.cat(group.inputs.inputs)
            for linear in group.linears:
                keep = torch.ones_like(linear.weight, dtype=torch.bool)
                keep[::2] = False
                block.replace(linear, Masked.by(keep))
    return walk.result("zero_half_the_rows")


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_inputs_are_those_of_the_model_with_all_earlier_edits(model, attention):
    """Inputs of each linear equal those recorded by hooks in a pass of the whole edited model."""
    model.config._attn_implementation = attention
    inputs = {}
    walk = BlockWalk(model, Calibration(IDS, tokens_together=18), AllInputs)
    edit, _ = _zero_half_the_rows(walk, inputs)
    assert sorted(inputs) == sorted((i, name) for i, name, _ in linear_inputs.own_linears(model))
    for block in range(3):
        before = linear_inputs.before(edit, model, block)
        for name, x in linear_inputs.of_block(model, before, block, IDS).items():
            torch.testing.assert_close(inputs[block, name], x)


def test_linears_with_the_same_input_form_a_group():
    """q, k and v are a group, and so are gate and up; the others are groups of their own."""
    walk = BlockWalk(tiny_model("llama"), Calibration(IDS), ColumnNorms)
    groups = [" ".join(sorted(group.names)) for group in next(iter(walk)).groups]
    assert groups == [
        "self_attn.k_proj self_attn.q_proj self_attn.v_proj",
        "self_attn.o_proj",
        "mlp.gate_proj mlp.up_proj",
        "mlp.down_proj",
    ]


def test_no_unnecessary_matrix_product_is_computed(monkeypatch):
    """Per micro-batch and block, six products give all inputs, and seven more give the output.

    The output of the last block is not computed.
    """
    model, products = tiny_model("llama"), []
    run = torch.nn.functional.linear
    monkeypatch.setattr(
        torch.nn.functional, "linear", lambda *args: (products.append(1), run(*args))[1]
    )
    for _ in BlockWalk(model, Calibration(IDS, tokens_together=18), ColumnNorms):
        pass
    assert len(products) == 3 * (3 * 6 + 2 * 7)


def test_dense_model_is_not_changed(model):
    """Its tensors and its logits are bit for bit the same as before."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    logits = model(IDS).logits
    _zero_half_the_rows(BlockWalk(model, Calibration(IDS), ColumnNorms))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(logits, model(IDS).logits)


def test_relative_output_error_equals_its_definition(model):
    """All tokens are sampled; |(Ŵ - W) X| / |W X| is computed from inputs recorded by hooks."""
    edit, report = _zero_half_the_rows(BlockWalk(model, Calibration(IDS), ColumnNorms))
    for row in report.to_pylist():
        before = linear_inputs.before(edit, model, row["block"])
        x = linear_inputs.of_block(model, before, row["block"], IDS)[row["linear"]]
        full = f"{anatomy.anatomy_of(model).blocks}.{row['block']}.{row['linear']}.weight"
        y = x @ model.get_parameter(full).T
        error = y[:, ::2].norm() / y.norm()
        assert row["relative_output_error"] == pytest.approx(float(error), rel=1e-4)
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
    """All of these few tokens are sampled, so that the report is the same for any batch size."""
    model = tiny_model("llama").double()
    batched = Calibration(IDS, tokens_together=tokens_together)
    _, report = _zero_half_the_rows(BlockWalk(model, batched, ColumnNorms))
    _, whole = _zero_half_the_rows(BlockWalk(model, Calibration(IDS), ColumnNorms))
    for row, other in zip(report.to_pylist(), whole.to_pylist(), strict=True):
        assert row["relative_output_error"] == pytest.approx(other["relative_output_error"])


def test_forward_dtype_applies_to_passes_and_not_to_weights():
    """Inputs are rounded to bfloat16, but the weights that a method gets are those of the model."""
    model = tiny_model("llama")
    walk = BlockWalk(model, Calibration(IDS, dtype=torch.bfloat16), AllInputs)
    for index, block in enumerate(walk):
        assert {x.dtype for group in block.groups for x in group.inputs.inputs} == {torch.bfloat16}
        for linear in block.linears():
            assert torch.equal(linear.weight, model.get_parameter(f"{linear.name}.weight"))
        assert index < 3


def _on_threads(threads, function):
    """The result of a function that is called while torch uses `threads` threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return function()
    finally:
        torch.set_num_threads(before)


def test_parallel_micro_batches_collect_every_input_once(model):
    """Five different sequences, two at a time, give the same inputs in the same order as one."""

    def walk():
        inputs = {}
        calibration = Calibration(IDS, tokens_together=9)
        _zero_half_the_rows(BlockWalk(model, calibration, AllInputs), inputs)
        return inputs

    one, two = _on_threads(1, walk), _on_threads(2, walk)
    assert list(one) == list(two)
    for name, inputs in one.items():
        torch.testing.assert_close(two[name], inputs)


def test_statistics_and_samples_do_not_depend_on_threads():
    """Norms are equal up to the last bits of sums, and samples are equal row by row."""

    def statistics():
        walk = BlockWalk(tiny_model("llama"), Calibration(IDS, tokens_together=9), ColumnNorms)
        return [(g.names, g.inputs.norms(), g.sample) for block in walk for g in block.groups[:]]

    for one, two in zip(_on_threads(1, statistics), _on_threads(2, statistics), strict=True):
        assert one[0] == two[0]
        torch.testing.assert_close(one[1], two[1], rtol=1e-6, atol=0)
        torch.testing.assert_close(one[2], two[2], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ["wanda", "magnitude", "rtn", "sparsegpt", "awq", "neuron"])
def test_reports_do_not_depend_on_the_number_of_threads(method):
    """They have the same linears in the same order, with the same sparsity and error."""
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


def test_estimate_counts_a_micro_batch_per_worker():
    """There are no more workers than micro-batches."""

    def estimate(sequences):
        calibration = Calibration(IDS[:sequences], tokens_together=9)
        return BlockWalk(tiny_model("llama"), calibration, ColumnNorms).estimate()

    one, two, single = (
        _on_threads(t, lambda n=n: estimate(n)) for t, n in ((1, 5), (2, 5), (2, 1))
    )
    assert two.micro_batches == 2 * one.micro_batches == 2 * single.micro_batches
    assert two.statistics == 2 * one.statistics


class _LargestTensor(TorchDispatchMode):
    """Records the largest number of elements that an operation returns."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.elements = max(self.elements, out.numel())
        return out


@pytest.mark.parametrize("architecture", ["mistral", "llama"])
def test_memory_does_not_depend_on_the_context_length_of_the_model(architecture):
    """The largest tensor is the same for a context of 2²⁰ tokens as for 4096 tokens."""
    largest = []
    for length in (4096, 2**20):
        model = tiny_model(architecture, max_position_embeddings=length)
        with _LargestTensor() as recorder:
            _zero_half_the_rows(BlockWalk(model, Calibration(IDS), ColumnNorms))
        largest.append(recorder.elements)
    assert largest[0] == largest[1]


def test_estimate_counts_model_block_activations_and_statistics():
    """The sizes can be checked by hand: d is 24, d_ff is 40, with 45 tokens in float32."""
    model = tiny_model("llama")
    memory = BlockWalk(model, Calibration(IDS), ColumnNorms).estimate()  # one micro-batch
    assert memory.model == 4 * sum(p.numel() for p in model.parameters())
    assert memory.activations == 4 * 45 * 24
    assert memory.statistics == 8 * (24 + 40)
    assert str(memory).endswith(")")


def test_error_names_the_linear_with_nan_in_its_weight():
    model = tiny_model("llama")
    model.model.layers[1].mlp.up_proj.weight[3, 5] = torch.nan
    with pytest.raises(ValueError, match=r"layers\.1\.mlp\.up_proj.* holds NaN"):
        _zero_half_the_rows(BlockWalk(model, Calibration(IDS), ColumnNorms))


def test_error_names_the_linear_with_an_infinite_edited_weight():
    """The walk stops before the next block reads it."""
    walk = BlockWalk(tiny_model("llama"), Calibration(IDS), None)
    with pytest.raises(ValueError, match=r"self_attn\.q_proj: the edited weight holds NaN"):
        for block in walk:
            linear = block.linear("self_attn.q_proj")
            block.replace(linear, torch.full_like(linear.weight, torch.inf))


def test_walks_without_a_statistic_run_an_excerpt():
    """The excerpt is a sixteenth of the sequences, rounded up."""
    ids = torch.randint(3, 100, (40, 6))
    walk = BlockWalk(tiny_model("llama"), Calibration(ids), None)
    assert walk.calibration.token_ids.shape == (3, 6)
