"""An edit turns the dense model into a variant: dropped sublayers and blocks, replaced tensors.

torch is imported only for replaced tensors, so that reading an edit that only drops sublayers is
fast.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from prunescope.storage import seals, store

if TYPE_CHECKING:
    from torch import Tensor

    from prunescope.model.replacements import Replacement

_DROPPED = "dropped."


@dataclass(frozen=True)
class Edit:
    """The difference between a variant and the dense model; empty for the dense model itself.

    Attributes
    ----------
    dropped : `attn`, `mlp` or `block` -> numbers of the blocks, ascending, in which it is dropped.
    tensors : name of a parameter in the dense model -> its replacement, packed or as a tensor.
    """

    dropped: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    tensors: "Mapping[str, Tensor | Replacement]" = field(default_factory=dict)

    def is_dropped(self, block: int, sublayer: str) -> bool:
        """True if the sublayer is dropped, alone or with its block."""
        return block in self.dropped.get(sublayer, ()) or block in self.dropped.get("block", ())

    def kept_blocks(self, n_blocks: int) -> list[int]:
        """Blocks of the dense model that the variant keeps, ascending; its block i is the i-th."""
        return [block for block in range(n_blocks) if block not in self.dropped.get("block", ())]

    def dropped_sublayers(self, n_blocks: int) -> list[int]:
        """Numbers of the dropped sublayers (see `anatomy.Sublayer`), ascending."""
        from prunescope.model.anatomy import SUBLAYERS, Sublayer

        sublayers = [Sublayer(block, kind) for block in range(n_blocks) for kind in SUBLAYERS]
        return [
            sublayer.index
            for sublayer in sublayers
            if self.is_dropped(sublayer.block, sublayer.kind)
        ]


def write(path: str | Path, edit: Edit, made_by: Mapping[str, object]) -> None:
    """Write an edit as safetensors: block numbers, replaced tensors, and provenance as metadata.

    Each field of a replacement is stored as a tensor named `<field>/<parameter name>`.

    Parameters
    ----------
    path : the file to write.
    edit : the edit of a variant.
    made_by : provenance, written into the metadata of the file.
    """
    indices = {
        f"{_DROPPED}{name}": np.asarray(blocks, dtype=np.int32)
        for name, blocks in edit.dropped.items()
    }
    metadata = {"prunescope": seals.header({"made_by": dict(made_by)})}
    with store.written_whole(path) as part:
        if edit.tensors:
            _save_tensors(part, indices, edit.tensors, metadata)
        else:
            save_file(indices, part, metadata)
        seals.seal(part)


def _save_tensors(
    part: Path,
    indices: Mapping[str, Any],
    replaced: "Mapping[str, Tensor | Replacement]",
    metadata: Mapping[str, str],
) -> None:
    import torch
    from safetensors.torch import save_file as save_tensors

    from prunescope.model.replacements import as_tensors

    tensors = {name: torch.from_numpy(array) for name, array in indices.items()}
    for name, replacement in replaced.items():
        for part_name, tensor in as_tensors(replacement).items():
            copied = tensor.clone(memory_format=torch.contiguous_format)  # parameters may share one
            tensors[f"{part_name}/{name}"] = copied
    save_tensors(tensors, part, dict(metadata))


def read(path: str | Path) -> Edit:
    """Read an edit. Replaced tensors are on the cpu and still packed.

    Raises JobError if the file is damaged.
    """
    seals.check(path)
    with safe_open(path, framework="numpy") as file:
        names = list(file.keys())
        dropped = {
            name.removeprefix(_DROPPED): tuple(int(block) for block in file.get_tensor(name))
            for name in sorted(names)
            if name.startswith(_DROPPED)
        }
    if len(dropped) == len(names):
        return Edit(dropped)
    from safetensors.torch import load_file

    from prunescope.model.replacements import from_tensors

    fields: dict[str, dict[str, Tensor]] = {}
    for name, tensor in load_file(path).items():
        if not name.startswith(_DROPPED):
            part_name, _, parameter = name.partition("/")
            fields.setdefault(parameter, {})[part_name] = tensor
    return Edit(
        dropped,
        {
            name: from_tensors(tensors_of_fields)
            for name, tensors_of_fields in sorted(fields.items())
        },
    )
