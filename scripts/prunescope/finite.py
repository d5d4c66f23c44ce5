"""Stop at numbers that are not finite where they arise, with a message that says where.

A NaN is neither less nor greater than another number. `min`, `max`, `sorted` and `argmax` over
numbers with a NaN therefore return an arbitrary result, and nothing that follows reveals it. All
numbers that are ranked, averaged or written pass through `checked` first. For a tensor, the check
is a single pass that computes the extremes, which are NaN if any element is.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

REMEDY = (
    "float16 overflows above 65504: set dtype: bfloat16 or float32 for the model. "
    "If that is its dtype already, its weights are damaged: fetch them again."
)
"""The advice in messages about numbers of a model that are not finite."""

_Values = TypeVar("_Values", "Tensor", NDArray[np.floating], float)


class NotFinite(ValueError):
    """A value is NaN or infinite; the message says where it arose and what to do."""


def is_finite(values: "Tensor | NDArray[np.floating] | float") -> bool:
    """Whether no value is NaN or infinite; True also for an empty tensor or array."""
    if isinstance(values, np.ndarray | np.generic | float | int):
        return bool(np.isfinite(values).all())
    import torch  # imported only here, because theory checks only arrays and does without torch

    if values.numel() == 0 or not values.is_floating_point():
        return True
    smallest, largest = torch.aminmax(values)
    return bool(smallest.isfinite() & largest.isfinite())


def checked(values: _Values, what: str | Callable[[], str], remedy: str = REMEDY) -> _Values:
    """Return `values` unchanged if all of them are finite.

    Parameters
    ----------
    values : a tensor or array of any shape, or a number.
    what : names the values, with stage, block and text, as a plural subject of a sentence, for
        instance "calibration sequence 3, block 1: hidden states". It may be a function that returns
        this text, which is called only if the check fails.
    remedy : the sentence of the message that says what to do.

    Raises
    ------
    NotFinite
        if any value is NaN or infinite.
    """
    if not is_finite(values):
        subject = what if isinstance(what, str) else what()
        raise NotFinite(f"{subject} are not finite ({_describe_not_finite(values)}). {remedy}")
    return values


@contextlib.contextmanager
def named(what: str) -> Iterator[None]:
    """Put `what`, for instance a prompt or a block, before the message of any NotFinite raised."""
    try:
        yield
    except NotFinite as error:
        raise NotFinite(f"{what}: {error}") from None


def _describe_not_finite(values: "Tensor | NDArray[np.floating] | float") -> str:
    """The number of NaN and of infinite values, in words."""
    import torch  # imported only here, see `is_finite`

    tensor = values if isinstance(values, torch.Tensor) else torch.as_tensor(values)
    nan, infinite = int(tensor.isnan().sum()), int(tensor.isinf().sum())
    total = tensor.numel()
    counts = [f"{n} {name}" for n, name in ((nan, "NaN"), (infinite, "infinite")) if n]
    return f"{' and '.join(counts)} of {total}"
