"""Describe mistakes in config: the key, the value that it has, and what it must be.

pydantic finds values that do not fit the models. Each of its findings becomes one sentence here,
which quotes the description of the field.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from prunescope.workflow import json_schema

Mistake = Mapping[str, Any]
"""One finding of pydantic, with the keys type, loc, input, ctx and msg."""


class ConfigError(Exception):
    """Config is invalid; the message has a line per mistake, with its key and how to correct it."""


def refuse(mistakes: Iterable[str]) -> None:
    """Raise ConfigError if there are mistakes; each distinct one is reported once."""
    lines = list(dict.fromkeys(mistakes))
    if lines:
        raise ConfigError("\n".join(f"config: {line}" for line in lines))


def of_models(error: ValidationError) -> list[str]:
    """One line for every finding of pydantic, sorted by key."""
    lines = [_described(each) for each in error.errors(include_url=False)]
    return [line for _, line in sorted(lines, key=lambda pair: pair[0])]


def _described(mistake: Mistake) -> tuple[list[str], str]:
    """The path of keys by which a mistake is sorted, and its line."""
    keys, part = json_schema.walk(mistake["loc"])
    kind = mistake["type"]
    if mistake["loc"][-1:] == ("[key]",):
        return keys[:-1], _bad_name(keys, mistake)
    if kind == "missing":
        return keys[:-1], f"{_at(keys[:-1])} lacks `{keys[-1]}`: {json_schema.meaning(part)}."
    if kind == "extra_forbidden":
        return keys[:-1], _unknown_key(keys, mistake)
    if kind == "section":
        return keys, f"{_at(keys)} {mistake['msg']}."
    inner = json_schema.resolved(part)
    if choices := json_schema.alternatives(inner):
        chooser = inner["discriminator"]["propertyName"]
        return keys, _no_choice(keys, mistake, chooser, list(choices))
    meaning = json_schema.meaning(part)
    return keys, f"{_at(keys)} is {shown(mistake['input'])}; {_demand(mistake, part)} ({meaning})."


def _bad_name(keys: list[str], mistake: Mistake) -> str:
    _, section = json_schema.walk(mistake["loc"][:-2])
    meaning = json_schema.resolved(section)["propertyNames"]["description"]
    return f"{_at(keys[:-1])}: the name {keys[-1]!r} will not do. A name has {meaning}."


def _unknown_key(keys: list[str], mistake: Mistake) -> str:
    _, section = json_schema.walk(mistake["loc"][:-1])
    known = json_schema.resolved(section)["properties"]
    return f"{_at(keys[:-1])}: there is no key {keys[-1]!r}.{instead(keys[-1], known)}"


def _no_choice(keys: list[str], mistake: Mistake, key: str, names: list[str]) -> str:
    """The message for a key that chooses between alternatives and is missing or names none."""
    if not isinstance(mistake["input"], Mapping):
        return f"{_at(keys)} is {shown(mistake['input'])}; it must be a mapping with `{key}`."
    if key not in mistake["input"]:
        return f"{_at(keys)} lacks `{key}`: one of {', '.join(names)}."
    chosen = mistake["input"][key]
    return f"{_at(keys)}: there is no {key} {chosen!r}.{instead(chosen, names)}"


def _demand(mistake: Mistake, part: Mapping[str, Any]) -> str:
    kind, context = mistake["type"], mistake.get("ctx", {})
    if kind == "string_type" and isinstance(mistake["input"], Mapping | list):
        return "it must be text"  # quoting it would not help
    if kind in _DEMANDS:
        return _DEMANDS[kind](context, part)
    return str(mistake["msg"])  # one of our validators, or a kind that no present model can cause


_Describe = Callable[[Mapping[str, Any], Mapping[str, Any]], str]

_DEMANDS: dict[str, _Describe] = {
    "string_type": lambda context, part: "it must be text, so quote it",
    "int_type": lambda context, part: "it must be a whole number",
    "float_type": lambda context, part: "it must be a number",
    "bool_type": lambda context, part: "it must be true or false",
    "list_type": lambda context, part: "it must be a list",
    "dict_type": lambda context, part: "it must be a mapping",
    "model_type": lambda context, part: "it must be a mapping",
    "model_attributes_type": lambda context, part: "it must be a mapping",
    "literal_error": lambda context, part: f"it must be one of {', '.join(part['enum'])}",
    "string_pattern_mismatch": lambda context, part: "that is not of the form asked for",
    "string_too_short": lambda context, part: "it must hold something",
    "too_short": lambda context, part: "it must hold something",
    "greater_than_equal": lambda context, part: f"it must be at least {_plain(context['ge'])}",
    "greater_than": lambda context, part: f"it must be above {_plain(context['gt'])}",
    "less_than_equal": lambda context, part: f"it must be at most {_plain(context['le'])}",
    "less_than": lambda context, part: f"it must be below {_plain(context['lt'])}",
}


def _plain(bound: float) -> str:
    """A bound without a trailing `.0`."""
    return str(int(bound)) if bound == int(bound) else str(bound)


def _at(keys: list[str]) -> str:
    return "/".join(keys) or "the experiment"


def shown(value: object) -> str:
    """A value as text, shortened to fit on a line."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def instead(name: object, known: Iterable[str]) -> str:
    """A hint with the most similar known name, and with all known names unless they are many."""
    known = list(known)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.4)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    listed = f" There are: {', '.join(known) or 'none'}." if len(known) < 15 or not near else ""
    return guess + listed
