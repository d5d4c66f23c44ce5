"""A variant: a model and the edit that made it from dense, which together know its blocks.

A variant whose edit drops blocks counts those that are left from 0, as every model counts its own.
Tables, edits and traces count the blocks of the dense model. `Variant` turns the one number into
the other, so that nothing else has to carry an edit beside a model to do so.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from prunescope.model import anatomy
from prunescope.model.edits import Edit


@dataclass(frozen=True)
class Variant:
    """A model and what was changed of dense to make it; dense is the variant of an empty edit.

    Attributes
    ----------
    model : made by `loading.apply_edit`.
    edit : what `model` was made by.
    """

    model: Any
    edit: Edit = field(default_factory=Edit)

    def blocks(self) -> dict[int, nn.Module]:
        """The blocks that are left, by their number in the dense model, ascending."""
        own = anatomy.blocks_of(self.model)
        dropped = self.edit.dropped.get("block", ())
        return dict(zip(self.edit.kept_blocks(len(own) + len(dropped)), own, strict=True))

    def name_in_dense(self, name: str) -> str:
        """The dense model's name of a parameter that the variant has under `name`."""
        blocks = re.escape(anatomy.anatomy_of(self.model).blocks)
        numbers = list(self.blocks())
        return re.sub(
            rf"^({blocks}\.)(\d+)", lambda match: f"{match[1]}{numbers[int(match[2])]}", name
        )
