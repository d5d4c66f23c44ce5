"""Replacements are close to the smallest possible size, and are read back bit for bit."""

import math

import pytest
import torch

from prunescope.model import edits, replacements
from prunescope.model.edits import Edit
from prunescope.model.replacements import KeptColumns, KeptRows, Masked, Quantized, Survivors

SHAPES = [(1, 1), (3, 5), (7, 24), (8, 16), (13, 40)]
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
BITS = range(2, 9)


def through_a_file(replacement, folder):
    """The replacement after it was written as an edit and read again."""
    edits.write(folder / "edit.safetensors", Edit(tensors={"some.weight": replacement}), {})
    return edits.read(folder / "edit.safetensors").tensors["some.weight"]


def of_kind(kind, dense, generator):
    """A random replacement of a kind, and the tensor it stands for."""
    keep = torch.rand(dense.shape, generator=generator) < 0.5
    if kind is Masked:
        return Masked.by(keep), torch.where(keep, dense, torch.zeros_like(dense))
    if kind is Survivors:
        values = torch.randn(dense.shape, generator=generator).to(dense.dtype)
        return Survivors.of_weight(values, keep), torch.where(keep, values, torch.zeros_like(dense))
    if kind is KeptRows:
        return KeptRows.by(keep[:, 0]), dense[[i for i, kept in enumerate(keep[:, 0]) if kept]]
    if kind is KeptColumns:
        return KeptColumns.by(keep[0]), dense[:, [i for i, kept in enumerate(keep[0]) if kept]]
    group_size = math.gcd(dense.shape[1], 8)
    parts = random_integers(dense.shape, 3, group_size, generator)
    return Quantized.by(*parts, bits=3, group_size=group_size), by_loops(*parts).to(dense.dtype)


def random_integers(shape, bits, group_size, generator):
    """Codes (out, in), zero points and float16 scales (out, groups)."""
    grouped = (shape[0], shape[1] // group_size)
    codes = torch.randint(2**bits, shape, generator=generator)
    zero_points = torch.randint(2**bits, grouped, generator=generator)
    return codes, zero_points, torch.rand(grouped, generator=generator).half()


def by_loops(codes, zero_points, scales, input_scales=None):
    """(code - zero_point) scale / s, weight by weight, in float64."""
    weight = torch.empty(codes.shape, dtype=torch.float64)
    group_size = codes.shape[1] // scales.shape[1]
    for row, column in torch.cartesian_prod(*(torch.arange(size) for size in codes.shape)):
        group = column // group_size
        centred = int(codes[row, column]) - int(zero_points[row, group])
        weight[row, column] = centred * float(scales[row, group])
        if input_scales is not None:
            weight[row, column] /= float(input_scales[column])
    return weight


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 1000])
def test_bits_are_unpacked_as_packed(length, generator):
    """They take one bit each, rounded up to a byte."""
    bits = torch.rand(length, generator=generator) < 0.5
    packed = replacements.pack_bits(bits)
    assert packed.dtype == torch.uint8
    assert packed.numel() == math.ceil(length / 8)
    assert torch.equal(replacements.unpack_bits(packed, bits.shape), bits)


def test_the_first_bit_is_the_highest():
    """The layout on disk, which other programs can read."""
    packed = replacements.pack_bits(torch.tensor([True, False, False, False, True] + [False] * 4))
    assert packed.tolist() == [0b10001000, 0]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", replacements.KINDS)
def test_every_kind_is_read_as_it_was_written(kind, shape, dtype, generator, tmp_path):
    """Kind, fields and the tensor in the dtype of dense; writing it again gives the same."""
    dense = torch.randn(shape, generator=generator).to(dtype)
    replacement, expected = of_kind(kind, dense, generator)
    found = through_a_file(replacement, tmp_path)
    assert type(found) is kind
    for new in (replacement, found):
        assert torch.equal(new.of(dense), expected)
        assert new.of(dense).dtype == dtype
        assert new.stored_bytes(dense) == replacement.stored_bytes(dense)
    for name, field in replacements.as_tensors(replacement).items():
        assert torch.equal(replacements.as_tensors(found)[name], field), name


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_removed_weights_are_positive_zeros(dtype):
    """Also those that were negative, infinite or NaN; all others are kept bit for bit."""
    dense = torch.tensor([-2.5, torch.inf, -torch.inf, torch.nan, -0.0], dtype=dtype)
    removed = Masked.by(torch.zeros(5, dtype=torch.bool)).of(dense)
    kept = Masked.by(torch.ones(5, dtype=torch.bool)).of(dense)
    assert removed.view(torch.uint8).count_nonzero() == 0
    assert torch.equal(kept.view(torch.uint8), dense.view(torch.uint8))


def test_a_plain_tensor_is_a_replacement(generator, tmp_path):
    """It is stored unchanged, and used in the dtype of dense."""
    tensor = torch.randn(3, 5, generator=generator)
    found = through_a_file(tensor, tmp_path)
    dense = torch.zeros(3, 5, dtype=torch.float64)
    assert torch.equal(found, tensor)
    assert torch.equal(replacements.replaced(dense, found), tensor.double())
    assert replacements.stored_bytes(dense, found) == 15 * 8


@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "input scales"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("bits", BITS)
def test_integers_of_every_width_are_unpacked_as_packed(bits, shape, scaled, generator, tmp_path):
    """All values of each width, also if they fill no byte; float16 scales convert exactly."""
    group_size = math.gcd(shape[1], 8)
    parts = random_integers(shape, bits, group_size, generator)
    parts[0].view(-1)[:: parts[0].numel()] = 2**bits - 1
    s = 0.5 + torch.rand(shape[1], generator=generator).half() if scaled else None
    replacement = Quantized.by(*parts, bits=bits, group_size=group_size, input_scales=s)
    weight = through_a_file(replacement, tmp_path).of(torch.zeros(shape))
    torch.testing.assert_close(weight.double(), by_loops(*parts, s), rtol=2**-24, atol=0)


def test_integers_are_stored_highest_bit_first():
    """The layout is that of numpy.packbits, for any width."""
    codes = torch.tensor([[5, 2, 7, 1]])
    some = torch.ones(1, 1)
    packed = Quantized.by(codes, some, some, bits=3, group_size=4).codes
    assert packed.tolist() == [0b10101011, 0b10010000]


@pytest.mark.parametrize("bits", BITS)
def test_stored_bytes_are_near_the_information_content(bits, generator, tmp_path):
    """Integers, and a float16 scale and a zero point per group; a file adds only its header."""
    shape, group_size = (576, 1536), 64
    parts = random_integers(shape, bits, group_size, generator)
    replacement = Quantized.by(*parts, bits=bits, group_size=group_size)
    content = math.prod(shape) * (bits + (16 + bits) / group_size) / 8
    assert replacement.stored_bytes(torch.zeros(shape)) == pytest.approx(content, abs=16)
    through_a_file(replacement, tmp_path)
    assert (tmp_path / "edit.safetensors").stat().st_size == pytest.approx(content, abs=1024)


@pytest.mark.parametrize("kind", [Masked, Survivors])
def test_a_mask_has_one_bit_per_weight(kind, generator):
    """In addition, each remaining value has its own width."""
    dense = torch.randn(64, 40, generator=generator).bfloat16()
    replacement, weight = of_kind(kind, dense, generator)
    content = 64 * 40 / 8 + 2 * int(weight.count_nonzero())
    assert replacement.stored_bytes(dense) == content


@pytest.mark.parametrize("kind", [KeptRows, KeptColumns])
def test_removed_rows_need_no_storage(kind, generator):
    """Only the smaller tensor is stored; in the shape of dense, the rest is zero."""
    dense = torch.randn(64, 40, generator=generator)
    replacement, smaller = of_kind(kind, dense, generator)
    assert replacement.stored_bytes(dense) == smaller.numel() * 4
    zeroed = replacement.zeroed(dense)
    assert zeroed.shape == dense.shape
    assert torch.equal(replacement.of(zeroed), smaller)
    assert zeroed.count_nonzero() == smaller.count_nonzero()


@pytest.mark.parametrize("kind", replacements.KINDS)
def test_a_tensor_of_another_model_is_refused(kind, generator):
    """The message gives both shapes, and what to do."""
    replacement, _ = of_kind(kind, torch.randn(16, 24, generator=generator), generator)
    with pytest.raises(ValueError, match="made for another model"):
        replacement.of(torch.zeros(32, 48))


def test_integers_of_the_transposed_shape_are_refused(generator):
    """Their number is right, but their shape is not."""
    replacement, _ = of_kind(Quantized, torch.zeros(16, 24), generator)
    with pytest.raises(ValueError, match=r"shape \(16, 24\) for a tensor of shape \(24, 16\)"):
        replacement.of(torch.zeros(24, 16))


def test_values_that_do_not_fit_their_mask_are_refused(generator):
    """For instance, the mask of one model and the values of another."""
    ours, _ = of_kind(Survivors, torch.zeros(16, 24), generator)
    with pytest.raises(ValueError, match="values for the"):
        Survivors(ours.keep, ours.values[:-1]).of(torch.zeros(16, 24))


def test_unknown_fields_are_refused_by_name():
    """For instance, those of an edit from a later version."""
    with pytest.raises(ValueError, match="codebook"):
        replacements.from_tensors({"codebook": torch.zeros(1)})


@pytest.mark.parametrize("kind", [Masked, Survivors, KeptRows, KeptColumns])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_copy_on_its_own_pages_is_equal_and_independent(kind, dtype, generator):
    """Changes of the original do not affect it."""
    dense = torch.randn(7, 24, generator=generator).to(dtype)
    replacement, expected = of_kind(kind, dense, generator)
    moved = replacements.on_own_pages(replacement)
    for field in replacements.as_tensors(replacement).values():
        field.zero_()
    assert torch.equal(replacements.replaced(dense, moved), expected)


def test_empty_tensors_can_be_copied():
    """For instance, without input scales or without rows."""
    assert replacements.on_own_pages(torch.empty(0, 3)).shape == (0, 3)
