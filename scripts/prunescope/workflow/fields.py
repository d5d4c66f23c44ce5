"""What values of config may be: the types that its models share, none of which converts a value.

What is wrong is found by pydantic; `messages` says it in sentences, with the field's description.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError


class Section(BaseModel):
    """A mapping of config: it knows its keys, refuses others, and leaves values as written."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def exactly_one(keys: tuple[str, str]) -> Callable[[Any, ValidatorFunctionWrapHandler], Any]:
    """A validator of a whole section that must give one of two keys, and not both."""
    either = " and ".join(f"`{key}`" for key in keys)

    def checked(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        n_given = sum(key in value for key in keys) if isinstance(value, Mapping) else 1
        return _told_with(
            PydanticCustomError("section", f"must give exactly one of {either}")
            if n_given != 1
            else None,
            value,
            handler,
        )

    return checked


def _told_with(
    own: PydanticCustomError | None, value: Any, handler: ValidatorFunctionWrapHandler
) -> Any:
    """The value as the handler has it; its mistakes and this one are told together."""
    mistakes = [] if own is None else [InitErrorDetails(type=own, loc=(), input=value)]
    try:
        found = handler(value)
    except ValidationError as error:
        others = [_again(each) for each in error.errors(include_url=False)]
        raise ValidationError.from_exception_data("config", [*others, *mistakes]) from None
    if mistakes:
        raise ValidationError.from_exception_data("config", mistakes)
    return found


def _again(mistake: Any) -> InitErrorDetails:
    """A mistake that was told, to be raised again from its place."""
    kind = mistake["type"]
    own = PydanticCustomError(kind, mistake["msg"]) if kind in OWN_KINDS else kind
    context = mistake.get("ctx", {})
    return InitErrorDetails(type=own, loc=mistake["loc"], input=mistake["input"], ctx=context)


OWN_KINDS = ("demand", "section")
"""Kinds of mistakes that say what must be themselves, in the words of a sentence's middle."""


def not_empty(value: Any) -> Any:
    """A validator of a whole section whose keys may all be absent, but one."""
    if value == {}:
        raise PydanticCustomError("demand", "it must hold something")
    return value


def _unlike(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """A list in which nothing occurs twice; true is not 1."""
    items = [(isinstance(item, bool), item) for item in value] if isinstance(value, list) else []
    twice = any(item in items[:index] for index, item in enumerate(items))
    own = PydanticCustomError("demand", "nothing may occur twice") if twice else None
    return _told_with(own, value, handler)


def _as_written(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """A number that keeps its type: 1 stays 1, so that what was made with it stays current."""
    handler(value)
    return value


def count_or_all(least: int) -> PlainValidator:
    """A validator of a whole number from `least` on, or the word `all`."""

    def checked(value: Any) -> int | str:
        if value == "all":
            return "all"
        if isinstance(value, bool) or not isinstance(value, int):
            raise PydanticCustomError("demand", "it must be a whole number or all")
        if value < least:
            raise PydanticCustomError("demand", f"it must be at least {least}")
        return value

    return PlainValidator(checked, Annotated[int, Field(ge=least)] | Literal["all"])


def _refused(value: Any) -> Any:
    raise PydanticCustomError("demand", "remove it")


Name = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*$"),
    Field(
        description="small letters, digits, dots, dashes and underscores, a letter or digit first, "
        "because it becomes part of a path"
    ),
]

Text = Annotated[str, StringConstraints(min_length=1)]

Root = Annotated[str, StringConstraints(pattern=r"^[^{}<>]+$")]

Once = WrapValidator(_unlike)
"""Of a list: every item once."""

AsWritten = WrapValidator(_as_written)
"""Of a number: after its bounds."""

Share = Annotated[float, Field(ge=0, le=1), AsWritten]

Positive = Annotated[float, Field(gt=0), AsWritten]

Selection = Annotated[
    list[Annotated[str, Field(description="a name or a pattern")]], Field(min_length=1)
]

Unwanted = Annotated[None, PlainValidator(_refused), WithJsonSchema({"not": {}})]
"""Of a key that a reader may expect here, and that has no meaning here."""
