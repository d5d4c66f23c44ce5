"""Expand sweeps: entries under `variants` whose name refers to lists in their settings."""

import itertools
import string
from collections.abc import Iterator, Mapping
from typing import Any


def expanded(variants: Mapping[str, Any]) -> dict[str, Any]:
    """Replace each entry whose name refers to lists by one variant per combination of values.

    `drop-{n_drop}a: {n_drop: [1, 2]}` becomes drop-1a and drop-2a, in this order. An empty list
    gives no variant.
    """
    if not isinstance(variants, Mapping):
        return variants
    return {
        name: settings for template in variants for name, settings in _expand(template, variants)
    }


def _expand(template: str, variants: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Names and settings of the variants that one entry stands for."""
    fields = _fields(template)
    if not fields:
        yield template, variants[template]
        return
    settings = variants[template]
    for values in itertools.product(*(settings[field] for field in fields)):
        chosen = dict(zip(fields, values, strict=True))
        yield template.format(**chosen), {**settings, **chosen}


def _fields(template: str) -> list[str]:
    """Settings that the name of an entry refers to in braces, each once."""
    fields = [field for _, field, _, _ in string.Formatter().parse(template) if field is not None]
    return list(dict.fromkeys(fields))


def mistakes(variants: Any) -> Iterator[str]:
    """Refuse names whose settings have no list, and names that two entries would share."""
    if not isinstance(variants, Mapping):
        return
    expandable = []
    for template, settings in variants.items():
        where = f"variants/{template}"
        try:
            fields = _fields(template)
        except ValueError as error:
            yield f"{where}: the name has a brace out of place ({error})."
            continue
        lists = settings if isinstance(settings, Mapping) else {}
        unlisted = [field for field in fields if not isinstance(lists.get(field), list)]
        for field in unlisted:
            yield (
                f"{where}: the name mentions {{{field}}}, so its settings need a list "
                f"`{field}: [...]`, one variant per value."
            )
        if not unlisted:
            expandable.append(template)
    names = [name for template in expandable for name, _ in _expand(template, variants)]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"variants: {name!r} is defined twice, once by a list. Rename one of them."
