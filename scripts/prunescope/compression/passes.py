"""How the passes of a calibration set through a model are run; imports no torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ForwardPasses:
    """Number types, kind and threads of calibration passes.

    Attributes
    ----------
    dtype : of the dense model, a key of `loading.DTYPES`.
    kind : a key of `loading.KINDS`.
    forward : number type of the passes alone; `model` for the model's own `dtype`.
    threads : CPU threads that sums are spread over.
    """

    dtype: str
    kind: str
    forward: str
    threads: int

    @property
    def forward_dtype(self) -> str:
        """The number type that passes are run in."""
        return self.dtype if self.forward == "model" else self.forward
