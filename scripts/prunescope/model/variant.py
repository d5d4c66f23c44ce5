"""A variant: a model together with the edit that made it from the dense model.

A variant numbers its remaining blocks from 0, as every model does, while tables, edits and traces
use the block numbers of the dense model. `Variant` converts between the two.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from prunescope.model import anatomy
from prunescope.model.edits import Edit


@dataclass(frozen=True)
class Variant:
    """A model and the edit that made it; the dense model is the variant with an empty edit.

    Attributes
    ----------
    model : the model, made by `loading.apply_edit`.
    edit : the edit that was applied.
    """

    model: Any
    edit: Edit = field(default_factory=Edit)

    def blocks(self) -> dict[int, nn.Module]:
        """The remaining blocks by their number in the dense model, ascending."""
        remaining_blocks = anatomy.blocks_of(self.model)
        dropped = self.edit.dropped.get("block", ())
        return dict(
            zip(
                self.edit.kept_blocks(len(remaining_blocks) + len(dropped)),
                remaining_blocks,
                strict=True,
            )
        )

    def name_in_dense(self, name: str) -> str:
        """The name in the dense model of the variant's parameter `name`."""
        blocks = re.escape(anatomy.anatomy_of(self.model).blocks)
        dense_numbers = list(self.blocks())
        return re.sub(
            rf"^({blocks}\.)(\d+)", lambda match: f"{match[1]}{dense_numbers[int(match[2])]}", name
        )
