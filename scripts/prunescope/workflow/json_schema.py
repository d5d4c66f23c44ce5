"""The JSON schema of config, made from its models: what messages and documentation look up."""

import functools
from collections.abc import Mapping
from typing import Any, get_args

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from prunescope.workflow.config import Experiment
from prunescope.workflow.method_fields import MethodSettings

Part = dict[str, Any]

_METHODS = {
    each.__name__: get_args(each.model_fields["method"].annotation)[0]
    for each in get_args(get_args(MethodSettings)[0])
}
"""Class -> the method it has the settings of."""


class _Generator(GenerateJsonSchema):
    """Pydantic's schema without titles and nulls: a key that has no value is left out."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def nullable_schema(self, schema: core_schema.NullableSchema) -> Part:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> Part:
        inner: Part = self.generate_inner(schema["schema"])
        default = schema.get("default")
        return inner if default is None else {**inner, "default": default}

    def dict_schema(self, schema: core_schema.DictSchema) -> Part:
        made: Part = {"type": "object"}
        if "keys_schema" in schema:
            names = self.generate_inner(schema["keys_schema"])
            made |= {"propertyNames": names} if "pattern" in names else {}
        made["additionalProperties"] = self.generate_inner(schema["values_schema"]) or True
        return made | ({"minProperties": 1} if schema.get("min_length") else {})


@functools.cache
def schema() -> Part:
    """The schema of config once sweeps are written out; `$defs/methods` holds every method's."""
    made = Experiment.model_json_schema(schema_generator=_Generator)
    placed: Part = _placed(made)
    parts = placed.pop("$defs")
    methods = {method: parts.pop(name) for name, method in _METHODS.items()}
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "prunescope experiment",
    }
    return head | placed | {"$defs": {**parts, "methods": methods}}


def _placed(part: Any) -> Any:
    """The same without titles of classes, and with methods referred to by their names."""
    if isinstance(part, list):
        return [_placed(item) for item in part]
    if isinstance(part, dict):
        kept = {k: v for k, v in part.items() if not (k == "title" and isinstance(v, str))}
        return {key: _placed(value) for key, value in kept.items()}
    name = part.removeprefix("#/$defs/") if isinstance(part, str) else part
    return f"#/$defs/methods/{_METHODS[name]}" if name != part and name in _METHODS else part


def resolved(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of the schema that a `$ref` points to, or the part itself."""
    found: Any = schema()
    for step in part.get("$ref", "#").split("/")[1:]:
        found = found[step]
    return found if "$ref" in part else part


def meaning(part: Mapping[str, Any]) -> str:
    """What a key means, in its own words or in those of what it refers to."""
    if "description" in part:
        return str(part["description"])
    docstring = str(resolved(part).get("description", "see the schema")).rstrip(".")
    return docstring[0].lower() + docstring[1:]


def alternatives(part: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Name -> alternative of a part that one of its keys chooses; none for other parts."""
    if "discriminator" not in part:
        return {}
    key = part["discriminator"]["propertyName"]
    found = [resolved(each) for each in part["oneOf"]]
    return {each["properties"][key]["const"]: each for each in found}


def walk(place: tuple[str | int, ...]) -> tuple[list[str], Mapping[str, Any]]:
    """Keys from the root to the place of a mistake, and the part of the schema there.

    Where a key chooses between alternatives, pydantic's place names the choice as if it were a
    key; and it marks a name that will not do by `[key]`, which is none either.
    """
    keys: list[str] = []
    part: Mapping[str, Any] = schema()
    for step in place:
        inner = resolved(part)
        if step == "[key]":
            continue
        if choices := alternatives(inner):
            part = choices[str(step)]
        else:
            part = _within(inner, step)
            keys.append(str(step))
    return keys, part


def _within(part: Mapping[str, Any], step: str | int) -> Mapping[str, Any]:
    """What the schema says of one key, or of any item; nothing of a key it does not know."""
    of_all = part.get("items" if isinstance(step, int) else "additionalProperties")
    found = part.get("properties", {}).get(step, of_all)
    return found if isinstance(found, dict) else {}
