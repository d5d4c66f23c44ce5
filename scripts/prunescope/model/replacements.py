"""What takes a dense tensor's place in a variant, packed near its information content.

A replacement stores only what dense does not already say: the bits of a keep-mask, the values
that changed, integers with their scales. `of(dense)` gives the tensor it stands for.
"""

import math
import mmap
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
"""By bytes. As integers, weights times a mask are zero where it is, whatever their sign; and the
product is six times faster than filling."""


class Replacement(Protocol):
    """One packed tensor. Fields are tensors, so that they are what is written to disk."""

    def of(self, dense: Tensor) -> Tensor:
        """The tensor that takes the place of `dense`, in its dtype and on its device."""

    def stored_bytes(self, dense: Tensor) -> float:
        """Bytes the replaced tensor needs standing alone, without dense beside it."""


def pack_bits(bits: Tensor) -> Tensor:
    """Booleans of any shape to bytes, first bit highest, (…,) -> (ceil(n / 8),) uint8."""
    return torch.from_numpy(np.packbits(bits.cpu().numpy()))


def unpack_bits(packed: Tensor, shape: tuple[int, ...] | torch.Size) -> Tensor:
    """The booleans `pack_bits` was given, (ceil(n / 8),) uint8 on the cpu -> `shape` bool.

    Raises ValueError where the number of bits does not fit the shape.
    """
    _check_size(packed, 1, shape)
    bits = np.unpackbits(packed.numpy(), count=math.prod(shape))
    return torch.from_numpy(bits).view(torch.bool).view(shape)


@dataclass(frozen=True)
class Masked:
    """Dense weights that survive, zeros elsewhere: a bit a weight.

    Attributes
    ----------
    keep : packed keep-mask, True where the weight survives.
    """

    keep: Tensor

    @classmethod
    def by(cls, keep_mask: Tensor) -> "Masked":
        """From a keep-mask of the weight's shape."""
        return cls(pack_bits(keep_mask))

    def of(self, dense: Tensor) -> Tensor:
        """Dense with the other weights set to zero."""
        keep = unpack_bits(self.keep, dense.shape).to(dense.device)
        bits = dense.view(_INTEGERS[dense.itemsize])
        return (bits * keep).view(dense.dtype)

    def stored_bytes(self, dense: Tensor) -> float:
        """Mask bits and surviving values."""
        surviving = int(unpack_bits(self.keep, dense.shape).sum())
        return self.keep.nbytes + surviving * dense.element_size()


@dataclass(frozen=True)
class Survivors:
    """New values where the weight survives, zeros elsewhere.

    Attributes
    ----------
    keep : packed keep-mask. values : (number kept,) in row-major order, in dense's dtype.
    """

    keep: Tensor
    values: Tensor

    @classmethod
    def of_weight(cls, weight: Tensor, keep_mask: Tensor) -> "Survivors":
        """From an updated weight and the keep-mask of its shape."""
        return cls(pack_bits(keep_mask), weight[keep_mask].cpu())

    def of(self, dense: Tensor) -> Tensor:
        """The updated weight."""
        keep = unpack_bits(self.keep, dense.shape).to(dense.device)
        if (kept := int(keep.sum())) != self.values.numel():
            raise _misfit(f"{self.values.numel()} values for the {kept} weights it keeps")
        return torch.zeros_like(dense).masked_scatter_(keep, self.values.to(dense))

    def stored_bytes(self, dense: Tensor) -> float:
        """Mask bits and surviving values."""
        return self.keep.nbytes + self.values.nbytes


@dataclass(frozen=True)
class Quantized:
    """Weight-only quantization: integers in groups of inputs, w = (code - zero_point) scale / s.

    Attributes
    ----------
    codes, zero_points : packed `bits`-wide integers; (out, in) and (out, groups) before packing.
    scales : (out, groups). input_scales : (in,), AWQ's s; empty for none.
    form : (bits, group_size).
    """

    codes: Tensor
    zero_points: Tensor
    scales: Tensor
    input_scales: Tensor
    form: Tensor

    @classmethod
    def by(
        cls,
        codes: Tensor,
        zero_points: Tensor,
        scales: Tensor,
        *,
        bits: int,
        group_size: int,
        input_scales: Tensor | None = None,
    ) -> "Quantized":
        """From integers (out, in), zero points and scales (out, groups).

        The input scales are copied: linears may share them, tensors of a file may not.
        """
        none = torch.empty(0, dtype=scales.dtype)
        return cls(
            _pack_integers(codes, bits),
            _pack_integers(zero_points, bits),
            scales.cpu(),
            none if input_scales is None else input_scales.to("cpu", copy=True),
            torch.tensor([bits, group_size], dtype=torch.int32),
        )

    def of(self, dense: Tensor) -> Tensor:
        """The dequantized weight."""
        bits, group_size = self.form.tolist()
        shape = (len(self.scales), self.scales.shape[1] * group_size)
        if dense.shape != shape:
            raise _misfit(f"integers of shape {shape} for a tensor of shape {tuple(dense.shape)}")
        device = dense.device
        codes = _unpack_integers(self.codes, bits, dense.shape).to(device)
        zeros = _unpack_integers(self.zero_points, bits, self.scales.shape).to(device)
        centred = codes.unflatten(-1, (-1, group_size)).float() - zeros.unsqueeze(-1)
        weight: Tensor = (centred * self.scales.to(device).float().unsqueeze(-1)).flatten(-2)
        if self.input_scales.numel():
            weight /= self.input_scales.to(device).float()
        return weight.to(dense.dtype)

    def stored_bytes(self, dense: Tensor) -> float:
        """Integers, scales and zero points as they are packed."""
        return float(sum(tensor.nbytes for tensor in as_tensors(self).values()))


@dataclass(frozen=True)
class Rows:
    """Whole outputs left out: the tensor gets fewer rows.

    Attributes
    ----------
    rows : packed, a bit for each row of dense, True where it stays.
    """

    rows: Tensor

    @classmethod
    def by(cls, kept: Tensor) -> "Rows":
        """From one boolean a row."""
        return cls(pack_bits(kept))

    def of(self, dense: Tensor) -> Tensor:
        """The rows that stay, (out, …) -> (kept, …)."""
        return dense[self._kept(dense)]

    def zeroed(self, dense: Tensor) -> Tensor:
        """Dense with zeros where rows are left out, in its own shape."""
        return dense * self._kept(dense).unsqueeze(-1)

    def _kept(self, dense: Tensor) -> Tensor:
        return unpack_bits(self.rows, dense.shape[:1]).to(dense.device)

    def stored_bytes(self, dense: Tensor) -> float:
        """The rows that stay."""
        return float(self.of(dense).nbytes)


@dataclass(frozen=True)
class Columns:
    """Whole inputs left out: the tensor gets fewer columns.

    Attributes
    ----------
    columns : packed, a bit for each column of dense, True where it stays.
    """

    columns: Tensor

    @classmethod
    def by(cls, kept: Tensor) -> "Columns":
        """From one boolean a column."""
        return cls(pack_bits(kept))

    def of(self, dense: Tensor) -> Tensor:
        """The columns that stay, (out, in) -> (out, kept)."""
        return dense[:, self._kept(dense)]

    def zeroed(self, dense: Tensor) -> Tensor:
        """Dense with zeros where columns are left out, in its own shape."""
        return dense * self._kept(dense)

    def _kept(self, dense: Tensor) -> Tensor:
        return unpack_bits(self.columns, dense.shape[1:]).to(dense.device)

    def stored_bytes(self, dense: Tensor) -> float:
        """The columns that stay."""
        return float(self.of(dense).nbytes)


KINDS: tuple[Any, ...] = (Masked, Survivors, Quantized, Rows, Columns)
"""Every kind, told apart on disk by the names of its fields."""


def replaced(dense: Tensor, replacement: Tensor | Replacement) -> Tensor:
    """The tensor that takes the place of `dense`: a replacement's, or the tensor given."""
    if isinstance(replacement, Tensor):
        return replacement.to(dense.device, dense.dtype)
    return replacement.of(dense)


def replaced_in(module: nn.Module, packed: Mapping[str, Tensor | Replacement]) -> dict[str, Tensor]:
    """The tensors that take the place of a module's parameters, by name within the module."""
    return {name: replaced(module.get_parameter(name), new) for name, new in packed.items()}


def stored_bytes(dense: Tensor, replacement: Tensor | Replacement) -> float:
    """Bytes of the replaced tensor standing alone."""
    if isinstance(replacement, Tensor):
        return replacement.numel() * dense.element_size()
    return replacement.stored_bytes(dense)


def as_tensors(replacement: Tensor | Replacement) -> dict[str, Tensor]:
    """Field name -> tensor, as written to disk; a bare tensor is the field `tensor`."""
    if isinstance(replacement, Tensor):
        return {"tensor": replacement}
    return {field.name: getattr(replacement, field.name) for field in fields(replacement)}  # type: ignore[arg-type]


def from_tensors(found: dict[str, Tensor]) -> Tensor | Replacement:
    """What `as_tensors` was given. Raises ValueError for fields of no kind."""
    if set(found) == {"tensor"}:
        return found["tensor"]
    for kind in KINDS:
        if set(found) == {field.name for field in fields(kind)}:
            replacement: Replacement = kind(**found)
            return replacement
    raise ValueError(f"an edit holds {sorted(found)}, which no kind of replacement has.")


def on_own_pages(replacement: Tensor | Replacement) -> Tensor | Replacement:
    """The same in memory of its own: among megabytes that come and go, what stays breaks it up."""
    return from_tensors({name: mapped(field) for name, field in as_tensors(replacement).items()})


def mapped(tensor: Tensor) -> Tensor:
    """A copy in memory of its own, given back once it is freed; on a GPU the tensor itself."""
    if tensor.is_cuda or not tensor.numel():
        return tensor
    pages = torch.frombuffer(mmap.mmap(-1, tensor.nbytes), dtype=tensor.dtype)
    return pages.view(tensor.shape).copy_(tensor)


def _pack_integers(values: Tensor, bits: int) -> Tensor:
    """Integers below 2^bits, `bits` bits each, highest first, (…,) -> (ceil(n bits / 8),) uint8.

    Eight integers make a word of 64 bits, of which the lowest `bits` bytes are kept.
    """
    flat = values.to("cpu", torch.uint8).flatten()
    eights = nn.functional.pad(flat, (0, -flat.numel() % 8)).view(-1, 8)
    words = torch.zeros(len(eights), dtype=torch.int64)
    for integer in eights.unbind(-1):
        words.bitwise_left_shift_(bits).bitwise_or_(integer)
    packed = torch.empty(len(words), bits, dtype=torch.uint8)
    for place in range(bits):
        packed[:, place] = words >> 8 * (bits - 1 - place) & 255
    return packed.flatten()[: -(-flat.numel() * bits // 8)].clone()


def _unpack_integers(packed: Tensor, bits: int, shape: tuple[int, ...] | torch.Size) -> Tensor:
    """The integers `_pack_integers` was given, (ceil(n bits / 8),) uint8 -> `shape` uint8."""
    _check_size(packed, bits, shape)
    padded = nn.functional.pad(packed, (0, -packed.numel() % bits)).view(-1, bits)
    words = torch.zeros(len(padded), dtype=torch.int64)
    for byte in padded.unbind(-1):
        words.bitwise_left_shift_(8).bitwise_or_(byte)
    eights = torch.empty(len(words), 8, dtype=torch.uint8)
    for place in range(8):
        eights[:, place] = words >> bits * (7 - place) & 2**bits - 1
    return eights.flatten()[: math.prod(shape)].view(shape)


def _check_size(packed: Tensor, bits: int, shape: tuple[int, ...] | torch.Size) -> None:
    """Raise ValueError unless so many bytes hold `bits` bits for every entry of the shape."""
    if packed.numel() != -(-math.prod(shape) * bits // 8):
        raise _misfit(f"{packed.numel()} packed bytes for a tensor of shape {tuple(shape)}")


def _misfit(held: str) -> ValueError:
    return ValueError(
        f"an edit holds {held}: it was made for another model. Run snakemake again to rebuild it."
    )
