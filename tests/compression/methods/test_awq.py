"""AWQ is never worse than rounding on its inputs, and much better if one input is large."""

import pytest
import torch

import linear_inputs
from prunescope.compression import quantization
from prunescope.compression.blockwise import Calibration
from prunescope.compression.methods import awq as module
from prunescope.compression.methods import load
from prunescope.model import anatomy, loading, replacements
from prunescope.model.replacements import Quantized
from smollm2 import model_dir
from tiny import tiny_model

IDS = torch.randint(3, 100, (6, 16), generator=torch.Generator().manual_seed(2))
FORM = {"bits": 4, "group_size": 8}
awq, rtn = load("awq"), load("rtn")


def group_errors(model, edit, inputs_of, token_ids):
    """Σ |(Ŵ - W) X|² in float64 by block and linears; hooks record X on the partly edited model."""
    errors = {}
    for index in range(len(anatomy.blocks_of(model))):
        before = linear_inputs.before(inputs_of, model, index)
        inputs = linear_inputs.of_block(model, before, index, token_ids)
        shared = {}
        for block, name, full in linear_inputs.own_linears(model):
            if block == index:
                same = next((x for x in shared if torch.equal(x, inputs[name])), inputs[name])
                shared.setdefault(same, []).append((name, full))
        for x, linears in shared.items():
            names = tuple(name for name, _ in linears)
            errors[index, names] = sum(
                output_error(model.get_parameter(full), edit.tensors[full], x)
                for _, full in linears
            )
    return errors


def output_error(dense, replacement, x):
    """|(Ŵ - W) X|² from outputs in float64."""
    delta = replacement.of(dense).double() - dense.double()
    return float((x.double() @ delta.T).square().sum())


def two_blocks():
    """The first two blocks of SmolLM2, and 512 tokens of a text."""
    model = loading.load(model_dir(), "float32", torch.device("cpu"))
    model.model.layers = model.model.layers[:2]
    model.config.num_hidden_layers = 2
    tokenizer = loading.load_tokenizer(model_dir())
    text = " ".join(f"On day {day} the keeper read letter {day * 7} twice." for day in range(90))
    return model, torch.tensor(tokenizer(text)["input_ids"][:512]).view(4, 128)


def all_bits(edit):
    """All tensors of an edit by name and field."""
    return {
        (name, field): tensor
        for name, replacement in edit.tensors.items()
        for field, tensor in replacements.as_tensors(replacement).items()
    }


def assert_same(one, other):
    one, other = all_bits(one), all_bits(other)
    assert set(one) == set(other)
    assert [key for key, tensor in one.items() if not torch.equal(tensor, other[key])] == []


@pytest.mark.parametrize(("bits", "clip"), [(4, False), (2, True)], ids=["4", "2-clip"])
def test_no_group_is_worse_than_rounding(model, bits, clip):
    """On its own inputs, for every architecture; the sum over groups is lower."""
    form = {"bits": bits, "group_size": 8}
    edit, _ = awq(model, Calibration(IDS), **form, clip=clip)
    plain, _ = rtn(model, Calibration(IDS), **form)
    ours = group_errors(model, edit, edit, IDS)
    theirs = group_errors(model, plain, edit, IDS)
    assert len(ours) == 12
    for group, error in ours.items():
        assert error <= theirs[group] * (1 + 1e-5), group  # float32 Hessian against float64
    assert sum(ours.values()) < 0.97 * sum(theirs.values())


def test_error_decreases_on_real_weights():
    """In SmolLM2, no group is worse, and the total error is lower by at least a fifth."""
    model, ids = two_blocks()
    form = {"bits": 4, "group_size": 64}
    edit, _ = awq(model, Calibration(ids), **form)
    plain, _ = rtn(model, Calibration(ids), **form)
    ours = group_errors(model, edit, edit, ids)
    theirs = group_errors(model, plain, edit, ids)
    assert all(error <= theirs[group] * (1 + 1e-5) for group, error in ours.items())
    assert sum(ours.values()) < 0.8 * sum(theirs.values())


def test_alpha_zero_alone_is_rtn(model, monkeypatch):
    """The edit is bit for bit the same, without further tensors."""
    monkeypatch.setattr(module, "ALPHAS", (0.0,))
    edit, _ = awq(model, Calibration(IDS), **FORM)
    assert_same(edit, rtn(model, Calibration(IDS), **FORM)[0])


def test_the_search_finds_the_best_alpha():
    """In float64, and with scales that are not rounded, no other alpha is clearly better."""
    model = tiny_model("llama").double()
    edit, _ = awq(model, Calibration(IDS), **FORM)
    x = linear_inputs.of_block(model, linear_inputs.before(edit, model, 1), 1, IDS)
    for names in (("mlp.gate_proj", "mlp.up_proj"), ("mlp.down_proj",), ("self_attn.o_proj",)):
        error, tried = 0.0, torch.zeros(20, dtype=torch.float64)
        for name in names:
            full = f"model.layers.1.{name}.weight"
            dense = model.get_parameter(full)
            error += output_error(dense, edit.tensors[full], x[name])
            for step in range(20):
                s = x[name].abs().mean(0) ** (step / 20)
                s = s / (s.max() * s.min()).sqrt()
                delta = rounded(dense * s) / s - dense
                tried[step] += (x[name] @ delta.T).square().sum()
        assert error < tried.min() * 1.05
        assert tried.min() < tried[0]


def rounded(weight):
    """The weight, rounded to four bits in groups of eight."""
    groups = weight.unflatten(-1, (-1, 8))
    low, high = groups.amin(-1, keepdim=True).clamp(max=0), groups.amax(-1, keepdim=True)
    scale = (high.clamp(min=0) - low) / 15
    zero = (-low / scale).round()
    return (((groups / scale).round() + zero).clamp(0, 15) - zero).mul(scale).flatten(-2)


def test_error_is_much_lower_if_one_input_is_large():
    """A norm multiplies one input of each linear by 100."""
    model = tiny_model("llama")
    for block in model.model.layers:
        block.input_layernorm.weight[5] = 100
        block.post_attention_layernorm.weight[11] = 100
    edit, _ = awq(model, Calibration(IDS), **FORM)
    plain, _ = rtn(model, Calibration(IDS), **FORM)
    ours = group_errors(model, edit, edit, IDS)
    theirs = group_errors(model, plain, edit, IDS)
    for (block, names), error in ours.items():
        if len(names) > 1:  # these linears read the output of a norm
            assert error < 0.3 * theirs[block, names], (block, names)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scaled", [False, True])
def test_the_search_uses_the_stored_weight(dtype, scaled, generator):
    """The change of the weight is bit for bit that of the weight read from disk."""
    dense = torch.randn(30, 24, generator=generator).to(dtype)
    s = 0.1 + torch.rand(24, generator=generator).half() if scaled else None
    weight = module._ScaledWeight.by(dense, s)
    grid = quantization.min_max_grid(weight.weight, 4, 8)
    codes = quantization.codes_of(weight.weight, grid, 4)
    stored = Quantized.by(codes, *grid, bits=4, group_size=8, input_scales=s).of(dense)
    assert torch.equal(weight.delta(grid, 4), (stored.double() - dense.double()).float())


@pytest.mark.parametrize("clip", [False, True], ids=["", "clip"])
def test_the_edit_does_not_depend_on_the_chunk_size(clip, monkeypatch):
    """Chunks of rows only limit the memory."""
    model = tiny_model("llama")
    whole, _ = awq(model, Calibration(IDS), **FORM, clip=clip)
    monkeypatch.setattr(module, "_rows_per_chunk", lambda in_features: 7)
    assert_same(awq(model, Calibration(IDS), **FORM, clip=clip)[0], whole)


def test_clipping_never_increases_the_error():
    """No group is worse on the same inputs, and with 2 bits the total error is lower."""
    model = tiny_model("llama")
    model.model.layers = model.model.layers[:1]
    form = {"bits": 2, "group_size": 8}
    edit, _ = awq(model, Calibration(IDS), **form)
    clipped, _ = awq(model, Calibration(IDS), **form, clip=True)
    before = group_errors(model, edit, edit, IDS)
    after = group_errors(model, clipped, clipped, IDS)
    assert all(error <= before[group] * (1 + 1e-5) for group, error in after.items())
    assert sum(after.values()) < 0.9 * sum(before.values())


def test_a_narrower_range_is_kept_only_if_the_error_of_the_row_decreases(generator):
    """If groups have the same inputs, the best ranges of single groups often make a row worse."""
    dense = torch.randn(200, 24, generator=generator)
    x = torch.randn(50, 8, generator=generator).repeat(1, 3)
    weight = module._ScaledWeight.by(dense, None)
    shrink = module._best_shrink(weight, x.T @ x, 4, 8)

    def errors(shrink):
        delta = weight.delta(quantization.min_max_grid(dense, 4, 8, shrink), 4)
        return (x @ delta.T).square().sum(0)

    narrowed = (shrink < 1).any(1)
    assert 20 < narrowed.sum() < 180
    assert torch.equal(shrink[~narrowed], torch.ones_like(shrink[~narrowed]))
    assert (errors(shrink)[narrowed] < errors(1.0)[narrowed]).all()


def test_order_of_sequences_changes_nothing_beyond_rounding(generator):
    """Sums over tokens in another order change no code except for ties."""
    model = tiny_model("llama").double()
    edit, _ = awq(model, Calibration(IDS), **FORM)
    order = torch.randperm(len(IDS), generator=generator)
    permuted, _ = awq(model, Calibration(IDS[order]), **FORM)
    for name, replacement in edit.tensors.items():
        dense = model.get_parameter(name)
        moved = (permuted.tensors[name].of(dense) - replacement.of(dense)).abs() > 1e-2
        assert moved.double().mean() < 0.01, name


def test_inputs_that_are_always_zero_get_moderate_scales():
    """With dead neurons there is no NaN, no group is worse, and all scales are at most 100."""
    model = tiny_model("llama")
    model.model.layers[0].mlp.up_proj.weight[:30] = 0
    model.model.layers[1].mlp.up_proj.weight.zero_()
    edit, _ = awq(model, Calibration(IDS), **FORM)
    plain, _ = rtn(model, Calibration(IDS), **FORM)
    ours = group_errors(model, edit, edit, IDS)
    theirs = group_errors(model, plain, edit, IDS)
    assert all(error <= theirs[group] * (1 + 1e-5) for group, error in ours.items())
    partly_dead = edit.tensors["model.layers.0.mlp.down_proj.weight"]
    assert partly_dead.input_scales.numel() == 40  # the other inputs gain from scales
    dead = edit.tensors["model.layers.1.mlp.down_proj.weight"]
    assert dead.input_scales.numel() == 0  # no gain, therefore no scales
    for replacement in edit.tensors.values():
        assert (replacement.input_scales > 0).all()
        assert (replacement.input_scales <= 100).all()


@pytest.mark.parametrize("alpha", [0.05, 0.5, 0.95])
def test_input_scales_are_normalised(alpha, generator):
    """max s · min s = 1 for x in any unit, and all s are 1 if all inputs have the same size."""
    x = torch.randn(50, 24, generator=generator) * torch.logspace(-1, 1, 24)
    mean = x.double().abs().mean(0) ** alpha
    for unit in (1.0, 1e-4, 1e4):
        inputs = module._InputStatistic(24, x.device)
        inputs.add(x[:20] * unit)
        inputs.add(x[20:] * unit)
        scales = inputs.scales(alpha).double()
        torch.testing.assert_close(
            scales, mean / (mean.max() * mean.min()).sqrt(), rtol=2**-10, atol=0
        )
    equal_inputs = module._InputStatistic(24, x.device)
    equal_inputs.add(x.sign())
    assert (equal_inputs.scales(alpha) == 1).all()


def test_scales_that_are_all_one_are_not_stored(model, monkeypatch):
    """Of equal errors, that of alpha = 0 is chosen."""
    scales = module._InputStatistic.scales
    monkeypatch.setattr(
        module._InputStatistic,
        "scales",
        lambda self, alpha: torch.ones_like(scales(self, alpha)) if alpha else None,
    )
    edit, _ = awq(model, Calibration(IDS), **FORM)
    assert_same(edit, rtn(model, Calibration(IDS), **FORM)[0])
