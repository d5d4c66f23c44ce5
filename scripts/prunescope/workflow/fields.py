"""Types of values that the models of config share. None of them converts a value.

pydantic finds the values that do not fit, and `messages` describes them in sentences.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetPydanticSchema,
    PlainValidator,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema


class Section(BaseModel):
    """A mapping in config. Unknown keys are refused, and values are not converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def exactly_one(keys: tuple[str, str]) -> Callable[[Any, ValidatorFunctionWrapHandler], Any]:
    """A validator of a section that must have exactly one of two keys."""
    either = " and ".join(f"`{key}`" for key in keys)

    def checked(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        n_given = sum(key in value for key in keys) if isinstance(value, Mapping) else 1
        return _validated_with(
            PydanticCustomError("section", f"must give exactly one of {either}")
            if n_given != 1
            else None,
            value,
            handler,
        )

    return checked


def _validated_with(
    custom_error: PydanticCustomError | None, value: Any, handler: ValidatorFunctionWrapHandler
) -> Any:
    """The value that the handler returns; its mistakes and the custom error are raised together."""
    mistakes = (
        [] if custom_error is None else [InitErrorDetails(type=custom_error, loc=(), input=value)]
    )
    try:
        validated = handler(value)
    except ValidationError as error:
        others = [_copied(each) for each in error.errors(include_url=False)]
        raise ValidationError.from_exception_data("config", [*others, *mistakes]) from None
    if mistakes:
        raise ValidationError.from_exception_data("config", mistakes)
    return validated


def _copied(mistake: Any) -> InitErrorDetails:
    """A copy of a mistake that was raised, which can be raised again."""
    kind = mistake["type"]
    error_type = PydanticCustomError(kind, mistake["msg"]) if kind in CUSTOM_KINDS else kind
    context = mistake.get("ctx", {})
    return InitErrorDetails(
        type=error_type, loc=mistake["loc"], input=mistake["input"], ctx=context
    )


CUSTOM_KINDS = ("demand", "section")
"""Kinds of mistakes that our validators raise; their messages are the middle of a sentence."""


def not_empty(value: Any) -> Any:
    """A validator of a section whose keys are all optional, but which must have at least one."""
    if value == {}:
        raise PydanticCustomError("demand", "it must hold something")
    return value


def _check_unique(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """Refuse a list in which an item occurs twice; `true` and `1` are different items."""
    items = [(isinstance(item, bool), item) for item in value] if isinstance(value, list) else []
    twice = any(item in items[:index] for index, item in enumerate(items))
    custom_error = PydanticCustomError("demand", "nothing may occur twice") if twice else None
    return _validated_with(custom_error, value, handler)


def _as_written(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """Check a number but keep its type: 1 stays 1, so that results made with it stay current."""
    handler(value)
    return value


_COUNT_OR_ALL = "a whole number or all"


def count_or_all(least: int, share: str | None = None) -> PlainValidator:
    """A validator of a whole number of at least `least`, or the word `all`.

    Parameters
    ----------
    least : the smallest number.
    share : regular expression of shares that may stand in place of a number. They have become
        numbers when a value is validated, so that only editors, which read the schema, need it.
    """

    def checked(value: Any) -> int | str:
        if value == "all":
            return "all"
        if isinstance(value, bool) or not isinstance(value, int):
            kinds = "a whole number, a share such as 1/8, or all" if share else _COUNT_OR_ALL
            raise PydanticCustomError("demand", f"it must be {kinds}")
        if value < least:
            raise PydanticCustomError("demand", f"it must be at least {least}")
        return value

    number = Annotated[int, Field(ge=least)]
    if share is None:
        return PlainValidator(checked, number | Literal["all"])
    pattern = Annotated[str, StringConstraints(pattern=f"^({share})$")]
    return PlainValidator(checked, number | Literal["all"] | pattern)


def index_or(word: str) -> PlainValidator:
    """A validator of an index from 0, or of one word that stands for one."""

    def checked(value: Any) -> int | str:
        if value == word:
            return word
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise PydanticCustomError("demand", f"it must be a whole number from 0, or {word}")
        return value

    return PlainValidator(checked, Annotated[int, Field(ge=0)] | Literal[word])


def one_of(names: Iterable[str]) -> GetPydanticSchema:
    """The schema of a text that is one of these names."""
    return GetPydanticSchema(lambda _source, _handler: core_schema.literal_schema(list(names)))


def _refused(value: Any) -> Any:
    raise PydanticCustomError("demand", "remove it")


REPLACEABLE = ("prompts", "variants", "tasks", "figures", "corpora", "variant_sets", "suites")
"""Sections of config whose entries an overlay can replace or leave out."""

Name = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*$"),
    Field(
        description="small letters, digits, dots, dashes and underscores, a letter or digit first, "
        "because it becomes part of a path"
    ),
]

Text = Annotated[str, StringConstraints(min_length=1)]


def _possible_path(value: str) -> str:
    """Refuse a path that no file can have; asking the system about it would raise an error."""
    if "\0" in value or any(len(part.encode()) > 255 for part in value.split("/")):
        raise PydanticCustomError("demand", "no file can have this path")
    return value


LocalPath = Annotated[Text, AfterValidator(_possible_path)]

Root = Annotated[str, StringConstraints(pattern=r"^[^{}<>]+$")]

Once = WrapValidator(_check_unique)
"""Annotation of a list whose items are all different."""

AsWritten = WrapValidator(_as_written)
"""Annotation of a number that keeps its type, placed after its bounds."""

Share = Annotated[float, Field(ge=0, le=1), AsWritten]

Positive = Annotated[float, Field(gt=0), AsWritten]

Selection = Annotated[
    list[Annotated[str, Field(description="a name or a pattern")]], Field(min_length=1)
]

Unwanted = Annotated[None, PlainValidator(_refused), WithJsonSchema({"not": {}})]
"""Type of a key that a reader may expect in a section but that has no meaning there."""
