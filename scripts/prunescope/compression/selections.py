"""How a variant's dropped sublayers are chosen: criterion, text and search. Imports no torch."""

from collections.abc import Mapping
from typing import Any, NamedTuple

CRITERIA = ("cosine", "output_kl", "output_variance")
"""By what a removal is judged; docs/definitions.md defines each."""

TEXTS = ("calibration", "own_answers", "prompts")
"""The text on which it is judged."""

SEARCHES = ("one_shot", "greedy")
"""Whether every removal is judged on the dense model, or again after each choice."""

PUBLISHED = (CRITERIA[0], TEXTS[0], SEARCHES[0])
"""The choice of He et al. 2026 and of ShortGPT, which table `influence` holds for every model."""

NEEDS_PROMPTS = TEXTS[1:]
"""Texts that are made from section `selection_prompts` of config."""

_METHODS = ("sublayer_drop", "block_drop")


class Selection(NamedTuple):
    """One way to choose what is dropped, which variants of different sizes share.

    Attributes
    ----------
    criterion, text, search : of `CRITERIA`, `TEXTS` and `SEARCHES`.
    sublayer : what may be dropped: `attn`, `mlp`, `any` for both, or `block`.
    """

    criterion: str
    text: str
    search: str
    sublayer: str

    @property
    def name(self) -> str:
        """The name that stands in paths."""
        return "-".join(self)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of parts that are ranked together."""
        return kinds_of(self.sublayer)


def kinds_of(sublayer: str) -> tuple[str, ...]:
    """The kinds of parts that a setting `sublayer` stands for: `any` is attention and MLPs."""
    return ("attn", "mlp") if sublayer == "any" else (sublayer,)


def of_variant(settings: Mapping[str, Any]) -> Selection | None:
    """The selection of a variant; None if it is the published one, or if nothing is selected.

    Parameters
    ----------
    settings : the variant's entry in config.
    """
    if settings["method"] not in _METHODS:
        return None
    keys = ("criterion", "text", "search")
    values = [settings.get(key, usual) for key, usual in zip(keys, PUBLISHED, strict=True)]
    criterion, text, search = values
    if (criterion, text, search) == PUBLISHED:
        return None
    return Selection(criterion, text, search, settings.get("sublayer", "block"))


def named(name: str) -> Selection:
    """The selection with this name."""
    return Selection(*name.split("-"))


def sizes(variants: Mapping[str, Mapping[str, Any]]) -> dict[str, int | str]:
    """The largest number that variants drop by each selection, or `all`, by its name.

    Parameters
    ----------
    variants : section `variants` of config.
    """
    found: dict[str, int | str] = {}
    for settings in variants.values():
        selection = of_variant(settings)
        if selection is None:
            continue
        numbers = (settings["n_drop"], found.get(selection.name, 0))
        found[selection.name] = "all" if "all" in numbers else max(map(int, numbers))
    return found
