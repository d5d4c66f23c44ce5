"""Settings of every compression method: one class per file of compression/methods.

A method's `compress` takes these by keyword only (tests/workflow/test_experiment.py compares the
two).
"""

from typing import Annotated, Any, Literal

from pydantic import Field, ModelWrapValidatorHandler, StringConstraints, model_validator

from prunescope.workflow import depth
from prunescope.workflow.fields import AsWritten, Section, count_or_all, exactly_one

_Sparsity = Annotated[
    float,
    Field(ge=0, lt=1, description="share of removed weights or neurons, below 1"),
    AsWritten,
]
_Pattern = Annotated[
    str,
    StringConstraints(pattern=r"^\d+:[1-9]\d*$"),
    Field(description="n:m keeps n of every m consecutive inputs"),
]
_NDrop = Annotated[
    int | Literal["all"],
    count_or_all(0, share=depth.SHARE),
    Field(description="number to drop, a share of the depth such as 1/8, or all"),
]
_Criterion = Annotated[
    Literal["cosine", "output_kl", "output_variance"],
    Field(
        description="by what a removal is judged: cosine for the influence on hidden states, as "
        "published (the default), output_kl for the KL divergence of the next token's "
        "probabilities, or output_variance for its estimate by Theorem 3"
    ),
]
_Text = Annotated[
    Literal["calibration", "own_answers", "prompts"],
    Field(
        description="text on which it is judged: calibration (the default), or own_answers, the "
        "dense model's answers to selection_prompts, or these prompts themselves"
    ),
]
_Search = Annotated[
    Literal["one_shot", "greedy"],
    Field(
        description="one_shot judges every removal on the dense model (the default), greedy again "
        "after each choice"
    ),
]
_Bits = Annotated[int, Field(ge=2, le=8, description="bits per weight")]
_GroupSize = Annotated[
    int,
    Field(
        ge=1,
        description="consecutive inputs that share a scale and a zero point; divides every "
        "linear's inputs",
    ),
]


class Identity(Section):
    """The dense model, unchanged."""

    method: Literal["identity"] = Field(description="name of the method")


class SublayerDrop(Section):
    """Removal of the attention or MLP sublayers that matter least."""

    method: Literal["sublayer_drop"] = Field(description="name of the method")
    sublayer: Literal["attn", "mlp", "any"] = Field(
        description="the kind of sublayer that may be dropped"
    )
    n_drop: _NDrop
    criterion: _Criterion = "cosine"
    text: _Text = "calibration"
    search: _Search = "one_shot"


class BlockDrop(Section):
    """Removal of the transformer blocks that matter least."""

    method: Literal["block_drop"] = Field(description="name of the method")
    n_drop: _NDrop
    criterion: _Criterion = "cosine"
    text: _Text = "calibration"
    search: _Search = "one_shot"


class _SparseOrPattern(Section):
    method: str
    sparsity: _Sparsity | None = None
    pattern: _Pattern | None = None

    @model_validator(mode="wrap")
    @classmethod
    def _either(cls, value: Any, handler: ModelWrapValidatorHandler[Any]) -> Any:
        return exactly_one(("sparsity", "pattern"))(value, handler)


class Magnitude(_SparseOrPattern):
    """Removal of the smallest weights: a share of them, or all but n of every m."""

    method: Literal["magnitude"] = Field(description="name of the method")


class Wanda(_SparseOrPattern):
    """Removal, per row, of the weights with the least |W| times input norm."""

    method: Literal["wanda"] = Field(description="name of the method")


class SparseGPT(_SparseOrPattern):
    """Removal of weights by second-order information, with an update of the others."""

    method: Literal["sparsegpt"] = Field(description="name of the method")


class Neuron(Section):
    """Removal of intermediate neurons of every MLP."""

    method: Literal["neuron"] = Field(description="name of the method")
    sparsity: _Sparsity


class Rtn(Section):
    """Rounding of each weight to the nearest of a few values."""

    method: Literal["rtn"] = Field(description="name of the method")
    bits: _Bits
    group_size: _GroupSize


class Awq(Section):
    """Rounding after a scaling that makes important inputs larger."""

    method: Literal["awq"] = Field(description="name of the method")
    bits: _Bits
    group_size: _GroupSize
    clip: bool = Field(
        default=False,
        description="true to also search how far the range of each group can be narrowed",
    )


MethodSettings = Annotated[
    Identity | SublayerDrop | BlockDrop | Magnitude | Wanda | SparseGPT | Neuron | Rtn | Awq,
    Field(discriminator="method"),
]
"""A method with its settings."""
