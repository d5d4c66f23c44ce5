"""Settings in shares of a model's depth, so that one config serves models of 6 and of 80 blocks.

- `n_drop: 1/8` of a variant is an eighth of the blocks of the default model, at least one.
- `drop-{1/8}a` in a selection is the one of the variants drop-1a, drop-2a, … whose number is
  nearest to an eighth of the blocks; of two that are equally near, the larger.
- `block: middle` in the settings of a figure is the middle one of the blocks.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Any

MIDDLE = "middle"

SHARE = r"[1-9][0-9]*/[1-9][0-9]*"
"""Regular expression of a share as config writes it."""

ASSUMED = 32
"""Number of blocks with which config is checked further if it is refused anyway: a default model
that is not defined, or whose entry is not valid, has no depth, which would be a second mistake."""

_IN_BRACES = re.compile(r"\{(" + SHARE + r")\}")


def share_in(value: object) -> Fraction | None:
    """The share that a value such as `1/8` gives, at most 1; None if it is no share."""
    if not isinstance(value, str) or not re.fullmatch(SHARE, value):
        return None
    share = Fraction(value)
    return share if share <= 1 else None


def number_of(share: Fraction, available: int) -> int:
    """So many of `available` blocks or sublayers: rounded, halves up, and at least one."""
    return max(1, int(share * available + Fraction(1, 2)))


def middle_of(n_blocks: int) -> int:
    """Index of the middle block, from 0; of the two middle ones, the first."""
    return (n_blocks - 1) // 2


def in_variants(config: Mapping[str, Any], n_blocks: int) -> dict[str, Any]:
    """Config with numbers in place of the shares in `n_drop` of variants, each number once.

    Parameters
    ----------
    config : config as it was merged, before it is checked.
    n_blocks : number of blocks of the default model.
    """
    counted = dict(config)
    if isinstance(variants := config.get("variants"), Mapping):
        counted["variants"] = {n: _with_counts(each, n_blocks) for n, each in variants.items()}
    if isinstance(replacements := config.get("replace"), Mapping) and "variants" in replacements:
        inner = in_variants({"variants": replacements["variants"]}, n_blocks)
        counted["replace"] = {**replacements, **inner}
    return counted


def _with_counts(settings: Any, n_blocks: int) -> Any:
    if not isinstance(settings, Mapping) or "n_drop" not in settings:
        return settings
    available = 2 * n_blocks if settings.get("sublayer") == "any" else n_blocks

    def counted(value: object) -> object:
        share = share_in(value)
        return value if share is None else number_of(share, available)

    given = settings["n_drop"]
    if not isinstance(given, list):
        return {**settings, "n_drop": counted(given)}
    if any(share_in(value) is not None for value in given):
        counts = [counted(value) for value in given]
        given = [count for index, count in enumerate(counts) if count not in counts[:index]]
    return {**settings, "n_drop": given}


def mistakes(config: Mapping[str, Any], n_blocks: int | None) -> Iterator[str]:
    """Refuse shares of a depth that is not known.

    Parameters
    ----------
    config : config as it was merged, before it is checked.
    n_blocks : number of blocks of the default model; None if it is not known.
    """
    model, models = config.get("default_model"), config.get("models")
    if n_blocks is not None or not isinstance(models, Mapping) or not isinstance(model, str):
        return  # known, or refused as a value
    entry = models.get(model)
    if not isinstance(entry, Mapping) or "n_blocks" in entry:
        return  # refused as a name or a value
    if (key := next(_shares(config.get("variants"), "variants"), None)) or (
        key := next(_shares(config.get("figures"), "figures"), None)
    ):
        yield (
            f"{key} depends on the depth of {model}, which is not known before the model is "
            f"fetched. Set models/{model}/n_blocks."
        )


def _shares(value: Any, where: str) -> Iterator[str]:
    """Keys below a section whose value is a share of the depth."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _shares(item, f"{where}/{key}")
    elif isinstance(value, list):
        for item in value:
            yield from _shares(item, where)
    elif share_in(value) is not None or (value == MIDDLE and where.endswith("/block")):
        yield where


def with_names(selection: Iterable[str], variants: Iterable[str], n_blocks: int) -> list[str]:
    """A selection of variants with the nearest variant's name in place of each share.

    Parameters
    ----------
    selection : names and patterns; those that contain a share in braces are replaced.
    variants : names of all variants.
    n_blocks : number of blocks of the default model.
    """
    names = list(variants)
    return list(dict.fromkeys(_nearest(entry, names, n_blocks) for entry in selection))


def _nearest(entry: str, variants: list[str], n_blocks: int) -> str:
    found = _IN_BRACES.search(entry)
    if found is None:
        return entry
    before, after = re.escape(entry[: found.start()]), re.escape(entry[found.end() :])
    matches = [re.fullmatch(f"{before}([0-9]+){after}", name) for name in variants]
    numbers = [int(match[1]) for match in matches if match]
    if not numbers:
        return entry
    wanted = Fraction(found[1]) * n_blocks
    number = min(numbers, key=lambda each: (abs(each - wanted), -each))
    return f"{entry[: found.start()]}{number}{entry[found.end() :]}"


def written_out(config: Mapping[str, Any], n_blocks: int) -> dict[str, Any]:
    """Config with names in place of shares in selections, and numbers in place of `middle`.

    Parameters
    ----------
    config : config whose values have been checked, with its sweeps expanded.
    n_blocks : number of blocks of the default model.
    """
    names = config["variants"]

    def named(entry: Mapping[str, Any]) -> dict[str, Any]:
        if "variant" not in entry:
            return dict(entry)
        return {**entry, "variant": with_names(entry["variant"], names, n_blocks)}

    def with_block(entry: Mapping[str, Any]) -> dict[str, Any]:
        if entry.get("settings", {}).get("block") != MIDDLE:
            return dict(entry)
        return {**entry, "settings": {**entry["settings"], "block": middle_of(n_blocks)}}

    figures = {
        figure: {
            **with_block(entry),
            "reads": {table: named(keys) for table, keys in entry["reads"].items()},
        }
        for figure, entry in config["figures"].items()
    }
    sets = {
        name: with_names(members, names, n_blocks)
        for name, members in config.get("variant_sets", {}).items()
    }
    return {
        **config,
        "figures": figures,
        **({"variant_sets": sets} if sets else {}),
        **({"export": named(config["export"])} if "export" in config else {}),
    }
