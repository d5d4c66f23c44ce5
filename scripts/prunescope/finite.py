"""Numbers that are not finite stop where they arise: one check, one message.

A NaN compares as neither less nor greater, so `min`, `max`, `sorted` and `argmax` over it return
something, and nothing that follows shows that it is chance. Whatever is ranked, averaged or written
passes `checked` first. On a tensor that costs one pass for its extremes, which propagate NaN.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

WAY_OUT = (
    "float16 overflows above 65504: set dtype: bfloat16 or float32 for the model. "
    "If that is its dtype already, its weights are damaged: fetch them again."
)
"""What to do about numbers of a model that are not finite."""

_Values = TypeVar("_Values", "Tensor", NDArray[np.floating], float)


class NotFinite(ValueError):
    """A NaN or an infinity; the message says where it arose and what to do."""


def is_finite(values: "Tensor | NDArray[np.floating] | float") -> bool:
    """True if no value is NaN or infinite; also for no values at all."""
    if isinstance(values, np.ndarray | np.generic | float | int):
        return bool(np.isfinite(values).all())
    import torch  # here: theory, which checks arrays, does without

    if values.numel() == 0 or not values.is_floating_point():
        return True
    low, high = torch.aminmax(values)
    return bool(low.isfinite() & high.isfinite())


def checked(values: _Values, what: str | Callable[[], str], way_out: str = WAY_OUT) -> _Values:
    """`values` as they are, all of them finite.

    Parameters
    ----------
    values : tensor, array or number of floats.
    what : names them, with stage, block and text, as the subject of a sentence in the plural:
        "calibration sequence 3, block 1: hidden states". A function of no arguments is called only
        if the check fails.
    way_out : the sentence that says what to do.

    Raises
    ------
    NotFinite
        if any is NaN or infinite.
    """
    if not is_finite(values):
        subject = what if isinstance(what, str) else what()
        raise NotFinite(f"{subject} are not finite ({_kind(values)}). {way_out}")
    return values


@contextlib.contextmanager
def named(what: str) -> Iterator[None]:
    """While open, the message of a NotFinite begins with what is worked on: a prompt, a block."""
    try:
        yield
    except NotFinite as error:
        raise NotFinite(f"{what}: {error}") from None


def _kind(values: "Tensor | NDArray[np.floating] | float") -> str:
    """How many values are NaN and how many infinite, in words."""
    import torch  # here: see is_finite

    tensor = values if isinstance(values, torch.Tensor) else torch.as_tensor(values)
    nan, infinite = int(tensor.isnan().sum()), int(tensor.isinf().sum())
    total = tensor.numel()
    counts = [f"{n} {name}" for n, name in ((nan, "NaN"), (infinite, "infinite")) if n]
    return f"{' and '.join(counts)} of {total}"
