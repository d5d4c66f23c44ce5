"""Settings of every compression method: one class per file of compression/methods.

A method's `compress` takes these by keyword only (tests/workflow/test_experiment.py compares the
two).
"""

from typing import Annotated, Any, Literal

from pydantic import Field, ModelWrapValidatorHandler, StringConstraints, model_validator

from prunescope.workflow.fields import AsWritten, Section, count_or_all, exactly_one

_Sparsity = Annotated[
    float,
    Field(ge=0, lt=1, description="share of zeros, or of neurons left out; 1 would leave nothing"),
    AsWritten,
]
_Pattern = Annotated[
    str,
    StringConstraints(pattern=r"^\d+:[1-9]\d*$"),
    Field(description="n:m, n kept of every m consecutive inputs"),
]
_NDrop = Annotated[
    int | Literal["all"], count_or_all(0), Field(description="how many to drop, or all")
]
_Bits = Annotated[int, Field(ge=2, le=8, description="width of a quantized weight, in bits")]
_GroupSize = Annotated[
    int,
    Field(
        ge=1,
        description="consecutive inputs that share a scale and a zero point; divides every "
        "linear's inputs",
    ),
]


class Identity(Section):
    """Dense itself."""

    method: Literal["identity"] = Field(description="name of the method")


class SublayerDrop(Section):
    """The least influential attention or MLP sublayers left out."""

    method: Literal["sublayer_drop"] = Field(description="name of the method")
    sublayer: Literal["attn", "mlp", "any"] = Field(description="which kind may be dropped")
    n_drop: _NDrop


class BlockDrop(Section):
    """The least influential transformer blocks left out."""

    method: Literal["block_drop"] = Field(description="name of the method")
    n_drop: _NDrop


class _SparseOrPattern(Section):
    method: str
    sparsity: _Sparsity | None = None
    pattern: _Pattern | None = None

    @model_validator(mode="wrap")
    @classmethod
    def _either(cls, value: Any, handler: ModelWrapValidatorHandler[Any]) -> Any:
        return exactly_one(("sparsity", "pattern"))(value, handler)


class Magnitude(_SparseOrPattern):
    """The smallest weights zeroed: a share of them, or all but n of every m."""

    method: Literal["magnitude"] = Field(description="name of the method")


class Wanda(_SparseOrPattern):
    """Weights of least |W| times input norm zeroed, row by row: a share, or all but n of m."""

    method: Literal["wanda"] = Field(description="name of the method")


class SparseGPT(_SparseOrPattern):
    """Weights zeroed and the rest adjusted by second-order information."""

    method: Literal["sparsegpt"] = Field(description="name of the method")


class Neuron(Section):
    """Whole intermediate neurons of every MLP left out."""

    method: Literal["neuron"] = Field(description="name of the method")
    sparsity: _Sparsity


class Rtn(Section):
    """Every weight rounded to the nearest of few values."""

    method: Literal["rtn"] = Field(description="name of the method")
    bits: _Bits
    group_size: _GroupSize


class Awq(Section):
    """Weights rounded after scaling up the inputs that matter."""

    method: Literal["awq"] = Field(description="name of the method")
    bits: _Bits
    group_size: _GroupSize
    clip: bool = Field(
        default=False, description="true also searches how far each group's range may be narrowed"
    )


MethodSettings = Annotated[
    Identity | SublayerDrop | BlockDrop | Magnitude | Wanda | SparseGPT | Neuron | Rtn | Awq,
    Field(discriminator="method"),
]
"""One method and its settings."""
