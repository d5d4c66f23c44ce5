"""The JSON schema of config, made from its models and used by messages and documentation."""

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
"""The compression method of each class of settings."""


class _Generator(GenerateJsonSchema):
    """The schema of pydantic without titles and nulls, because keys without a value are omitted."""

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
    """The schema of config after sweeps are expanded; `$defs/methods` has that of each method."""
    generated = Experiment.model_json_schema(schema_generator=_Generator)
    cleaned: Part = _cleaned(generated)
    parts = cleaned.pop("$defs")
    methods = {method: parts.pop(name) for name, method in _METHODS.items()}
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "prunescope experiment",
    }
    return head | cleaned | {"$defs": {**parts, "methods": methods}}


def _cleaned(part: Any) -> Any:
    """A part without the titles of classes, with references to methods by their names."""
    if isinstance(part, list):
        return [_cleaned(item) for item in part]
    if isinstance(part, dict):
        untitled = {k: v for k, v in part.items() if not (k == "title" and isinstance(v, str))}
        return {key: _cleaned(value) for key, value in untitled.items()}
    name = part.removeprefix("#/$defs/") if isinstance(part, str) else part
    return f"#/$defs/methods/{_METHODS[name]}" if name != part and name in _METHODS else part


def resolved(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of the schema that a `$ref` points to, or the part itself."""
    target: Any = schema()
    for step in part.get("$ref", "#").split("/")[1:]:
        target = target[step]
    return target if "$ref" in part else part


def meaning(part: Mapping[str, Any]) -> str:
    """The description of a key, or of the part to which it refers."""
    if "description" in part:
        return str(part["description"])
    docstring = str(resolved(part).get("description", "see the schema")).rstrip(".")
    return docstring[0].lower() + docstring[1:]


def alternatives(part: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The alternatives among which a key of a part chooses, by name; empty for other parts."""
    if "discriminator" not in part:
        return {}
    key = part["discriminator"]["propertyName"]
    choices = [resolved(each) for each in part["oneOf"]]
    return {each["properties"][key]["const"]: each for each in choices}


def walk(location: tuple[str | int, ...]) -> tuple[list[str], Mapping[str, Any]]:
    """The keys from the root to the location of a mistake, and the part of the schema there.

    Two kinds of steps in the locations of pydantic are not keys of config: the alternative that a
    key has chosen, and `[key]`, which marks an invalid name.
    """
    keys: list[str] = []
    part: Mapping[str, Any] = schema()
    for step in location:
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
    """The part of the schema for a key or an item; empty for an unknown key."""
    of_others = part.get("items" if isinstance(step, int) else "additionalProperties")
    inner = part.get("properties", {}).get(step, of_others)
    return inner if isinstance(inner, dict) else {}
