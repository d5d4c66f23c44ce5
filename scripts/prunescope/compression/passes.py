"""Settings of the passes of calibration text through a model. This module imports no torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ForwardPasses:
    """Number types, kind of model and threads of calibration passes.

    Attributes
    ----------
    dtype : number type of the dense model, a key of `loading.DTYPES`.
    kind : kind of the model, a key of `loading.KINDS`.
    forward : number type of the calibration passes alone; `model` for that of the model.
    threads : number of CPU threads.
    """

    dtype: str
    kind: str
    forward: str
    threads: int

    @property
    def forward_dtype(self) -> str:
        """The number type of the calibration passes."""
        return self.dtype if self.forward == "model" else self.forward
