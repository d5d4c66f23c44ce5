"""Packed replacements for tensors of the dense model, close to the smallest possible size.

A replacement stores only what the dense tensor does not contain: the bits of a keep-mask, changed
values, or integers with their scales. `of(dense)` unpacks the tensor.
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
"""Integer dtypes by number of bytes, to multiply the bits of weights by a mask.

The product has no negative zeros, and is six times faster than filling with zeros.
"""


class Replacement(Protocol):
    """One packed tensor. All fields are tensors, which are written to disk as they are."""

    def of(self, dense: Tensor) -> Tensor:
        """The tensor that replaces `dense`, in its dtype and on its device."""

    def stored_bytes(self, dense: Tensor) -> float:
        """Size of what is stored, in bytes; the dense tensor is not part of it."""


def pack_bits(bits: Tensor) -> Tensor:
    """Pack booleans of any shape into bytes, (…,) -> (ceil(n / 8),) uint8, first bit highest."""
    return torch.from_numpy(np.packbits(bits.cpu().numpy()))


def unpack_bits(packed: Tensor, shape: tuple[int, ...] | torch.Size) -> Tensor:
    """Inverse of `pack_bits`, (ceil(n / 8),) uint8 on the cpu -> `shape` bool.

    Raises ValueError if the number of bytes does not match the shape.
    """
    _check_size(packed, 1, shape)
    bits = np.unpackbits(packed.numpy(), count=math.prod(shape))
    return torch.from_numpy(bits).view(torch.bool).view(shape)


@dataclass(frozen=True)
class Masked:
    """Dense weights where the mask is True, zeros elsewhere; one bit per weight.

    Attributes
    ----------
    keep : packed keep-mask, True where the weight survives.
    """

    keep: Tensor

    @classmethod
    def by(cls, keep_mask: Tensor) -> "Masked":
        """Pack a keep-mask with the shape of the weight."""
        return cls(pack_bits(keep_mask))

    def of(self, dense: Tensor) -> Tensor:
        """The dense weight with all masked weights set to zero."""
        keep = unpack_bits(self.keep, dense.shape).to(dense.device)
        bits = dense.view(_INTEGERS[dense.itemsize])
        return (bits * keep).view(dense.dtype)

    def stored_bytes(self, dense: Tensor) -> float:
        """Bytes of the mask and of the surviving values."""
        surviving = int(unpack_bits(self.keep, dense.shape).sum())
        return self.keep.nbytes + surviving * dense.element_size()


@dataclass(frozen=True)
class Survivors:
    """New values where the mask is True, zeros elsewhere.

    Attributes
    ----------
    keep : packed keep-mask, True where the weight survives.
    values : (survivors,), in row-major order and the dtype of the dense weight.
    """

    keep: Tensor
    values: Tensor

    @classmethod
    def of_weight(cls, weight: Tensor, keep_mask: Tensor) -> "Survivors":
        """Pack an updated weight with a keep-mask of the same shape."""
        return cls(pack_bits(keep_mask), weight[keep_mask].cpu())

    def of(self, dense: Tensor) -> Tensor:
        """The updated weight."""
        keep = unpack_bits(self.keep, dense.shape).to(dense.device)
        if (kept := int(keep.sum())) != self.values.numel():
            raise _wrong_size(f"{self.values.numel()} values for the {kept} weights it keeps")
        return torch.zeros_like(dense).masked_scatter_(keep, self.values.to(dense))

    def stored_bytes(self, dense: Tensor) -> float:
        """Bytes of the mask and of the surviving values."""
        return self.keep.nbytes + self.values.nbytes


@dataclass(frozen=True)
class Quantized:
    """Weight-only quantization in groups of inputs: w = (code - zero_point) scale / s.

    Attributes
    ----------
    codes, zero_points : packed integers of `bits` bits; before packing (out, in), (out, groups).
    scales : (out, groups).
    input_scales : (in,), the s of AWQ; empty if there is none.
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
        """Pack integers (out, in) with zero points and scales (out, groups).

        Input scales are copied, because linears may share them but tensors of a file may not.

        Parameters
        ----------
        codes : (out, in), integers of `bits` bits.
        zero_points, scales : (out, groups).
        bits : number of bits per integer.
        group_size : number of consecutive inputs per group.
        input_scales : (in,), the s of AWQ, by which unpacked weights are divided; None for none.
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
            raise _wrong_size(
                f"integers of shape {shape} for a tensor of shape {tuple(dense.shape)}"
            )
        device = dense.device
        codes = _unpack_integers(self.codes, bits, dense.shape).to(device)
        zeros = _unpack_integers(self.zero_points, bits, self.scales.shape).to(device)
        centred = codes.unflatten(-1, (-1, group_size)).float() - zeros.unsqueeze(-1)
        weight: Tensor = (centred * self.scales.to(device).float().unsqueeze(-1)).flatten(-2)
        if self.input_scales.numel():
            weight /= self.input_scales.to(device).float()
        return weight.to(dense.dtype)

    def stored_bytes(self, dense: Tensor) -> float:
        """Bytes of the packed integers, zero points and scales."""
        return float(sum(tensor.nbytes for tensor in as_tensors(self).values()))


@dataclass(frozen=True)
class KeptRows:
    """Removal of whole outputs: the tensor gets fewer rows.

    Attributes
    ----------
    rows : packed, one bit per row of the dense tensor, True if the row is kept.
    """

    rows: Tensor

    @classmethod
    def by(cls, kept: Tensor) -> "KeptRows":
        """Pack one boolean per row, True if the row is kept."""
        return cls(pack_bits(kept))

    def of(self, dense: Tensor) -> Tensor:
        """The kept rows, (out, …) -> (kept, …)."""
        return dense[self._kept(dense)]

    def zeroed(self, dense: Tensor) -> Tensor:
        """The dense tensor with the removed rows set to zero, in its original shape."""
        return dense * self._kept(dense).unsqueeze(-1)

    def _kept(self, dense: Tensor) -> Tensor:
        return unpack_bits(self.rows, dense.shape[:1]).to(dense.device)

    def stored_bytes(self, dense: Tensor) -> float:
        """Bytes of the kept rows."""
        return float(self.of(dense).nbytes)


@dataclass(frozen=True)
class KeptColumns:
    """Removal of whole inputs: the tensor gets fewer columns.

    Attributes
    ----------
    columns : packed, one bit per column of the dense tensor, True if the column is kept.
    """

    columns: Tensor

    @classmethod
    def by(cls, kept: Tensor) -> "KeptColumns":
        """Pack one boolean per column, True if the column is kept."""
        return cls(pack_bits(kept))

    def of(self, dense: Tensor) -> Tensor:
        """The kept columns, (out, in) -> (out, kept)."""
        return dense[:, self._kept(dense)]

    def zeroed(self, dense: Tensor) -> Tensor:
        """The dense tensor with the removed columns set to zero, in its original shape."""
        return dense * self._kept(dense)

    def _kept(self, dense: Tensor) -> Tensor:
        return unpack_bits(self.columns, dense.shape[1:]).to(dense.device)

    def stored_bytes(self, dense: Tensor) -> float:
        """Bytes of the kept columns."""
        return float(self.of(dense).nbytes)


KINDS: tuple[Any, ...] = (Masked, Survivors, Quantized, KeptRows, KeptColumns)
"""All kinds of replacements; in a file, the names of the fields identify the kind."""


def replaced(dense: Tensor, replacement: Tensor | Replacement) -> Tensor:
    """The tensor that replaces `dense`, unpacked if it is packed."""
    if isinstance(replacement, Tensor):
        return replacement.to(dense.device, dense.dtype)
    return replacement.of(dense)


def replaced_in(module: nn.Module, packed: Mapping[str, Tensor | Replacement]) -> dict[str, Tensor]:
    """The tensors that replace parameters of a module, by name within the module."""
    return {name: replaced(module.get_parameter(name), new) for name, new in packed.items()}


def stored_bytes(dense: Tensor, replacement: Tensor | Replacement) -> float:
    """Size of what is stored, in bytes; the dense tensor is not part of it."""
    if isinstance(replacement, Tensor):
        return replacement.numel() * dense.element_size()
    return replacement.stored_bytes(dense)


def as_tensors(replacement: Tensor | Replacement) -> dict[str, Tensor]:
    """Field name -> tensor, as written to disk; a plain tensor becomes the field `tensor`."""
    if isinstance(replacement, Tensor):
        return {"tensor": replacement}
    return {field.name: getattr(replacement, field.name) for field in fields(replacement)}  # type: ignore[arg-type]


def from_tensors(tensors: dict[str, Tensor]) -> Tensor | Replacement:
    """Inverse of `as_tensors`. Raises ValueError if no kind of replacement has these fields."""
    if set(tensors) == {"tensor"}:
        return tensors["tensor"]
    for kind in KINDS:
        if set(tensors) == {field.name for field in fields(kind)}:
            replacement: Replacement = kind(**tensors)
            return replacement
    raise ValueError(f"an edit holds {sorted(tensors)}, which no kind of replacement has.")


def on_own_pages(replacement: Tensor | Replacement) -> Tensor | Replacement:
    """Copy a replacement to memory pages of its own.

    Long-lived tensors among short-lived ones would fragment the heap.
    """
    return from_tensors({name: mapped(field) for name, field in as_tensors(replacement).items()})


def mapped(tensor: Tensor) -> Tensor:
    """Copy a tensor to memory pages that the system gets back when it is freed.

    A tensor on a GPU is returned as it is.
    """
    if tensor.is_cuda or not tensor.numel():
        return tensor
    pages = torch.frombuffer(mmap.mmap(-1, tensor.nbytes), dtype=tensor.dtype)
    return pages.view(tensor.shape).copy_(tensor)


def _pack_integers(values: Tensor, bits: int) -> Tensor:
    """Pack integers below 2^bits, `bits` bits each, (…,) -> (ceil(n bits / 8),) uint8.

    The highest bit comes first. Eight integers make a word of 64 bits, of which the lowest `bits`
    bytes are stored.
    """
    flat = values.to("cpu", torch.uint8).flatten()
    groups_of_eight = nn.functional.pad(flat, (0, -flat.numel() % 8)).view(-1, 8)
    words = torch.zeros(len(groups_of_eight), dtype=torch.int64)
    for integer in groups_of_eight.unbind(-1):
        words.bitwise_left_shift_(bits).bitwise_or_(integer)
    packed = torch.empty(len(words), bits, dtype=torch.uint8)
    for byte_index in range(bits):
        packed[:, byte_index] = words >> 8 * (bits - 1 - byte_index) & 255
    return packed.flatten()[: -(-flat.numel() * bits // 8)].clone()


def _unpack_integers(packed: Tensor, bits: int, shape: tuple[int, ...] | torch.Size) -> Tensor:
    """Inverse of `_pack_integers`, (ceil(n bits / 8),) uint8 -> `shape` uint8."""
    _check_size(packed, bits, shape)
    padded = nn.functional.pad(packed, (0, -packed.numel() % bits)).view(-1, bits)
    words = torch.zeros(len(padded), dtype=torch.int64)
    for byte in padded.unbind(-1):
        words.bitwise_left_shift_(8).bitwise_or_(byte)
    groups_of_eight = torch.empty(len(words), 8, dtype=torch.uint8)
    for index in range(8):
        groups_of_eight[:, index] = words >> bits * (7 - index) & 2**bits - 1
    return groups_of_eight.flatten()[: math.prod(shape)].view(shape)


def _check_size(packed: Tensor, bits: int, shape: tuple[int, ...] | torch.Size) -> None:
    """Raise ValueError unless `packed` has the size of `shape` at `bits` bits per entry."""
    if packed.numel() != -(-math.prod(shape) * bits // 8):
        raise _wrong_size(f"{packed.numel()} packed bytes for a tensor of shape {tuple(shape)}")


def _wrong_size(held: str) -> ValueError:
    return ValueError(
        f"an edit holds {held}: it was made for another model. Run snakemake again to rebuild it."
    )
