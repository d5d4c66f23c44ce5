"""Take entries out of an experiment: what an overlay leaves out or replaces, and what follows.

`without: {variants: [rtn-4bit]}` removes entries. `replace: {prompts: {...}}` puts a section in
place of another. `only_figures: [fig04, fig06]` leaves the other figures out. Selections that
matched only removed names lose them, and a figure that has nothing left to show is left out.
"""

import fnmatch
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from prunescope.report import contents
from prunescope.workflow import suites, sweeps
from prunescope.workflow.fields import REPLACEABLE
from prunescope.workflow.messages import instead

Config = Mapping[str, Any]

Removed = Mapping[str, Collection[str]]
"""Names of removed entries by section."""


def replaced(config: Config) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Config with the sections under `replace` in place of the merged ones, before it is checked.

    Returns
    -------
    The config, and by section the names that it no longer has.
    """
    replacements = config.get("replace", {})
    if not isinstance(replacements, Mapping):
        return dict(config), {}
    new = {section: replacements[section] for section in REPLACEABLE if section in replacements}
    removed = {
        section: [name for name in _names(section, config) if name not in _names(section, new)]
        for section in new
    }
    return {**config, **new}, removed


def _names(section: str, config: Config) -> list[str]:
    """Names of the entries of a section, with sweeps of variants expanded."""
    entries = config.get(section)
    if not isinstance(entries, Mapping) or (
        section == "variants" and any(sweeps.mistakes(entries))
    ):
        return []
    return list(sweeps.expanded(entries) if section == "variants" else entries)


def mistakes(config: Config) -> Iterator[str]:
    """Refuse names under `without` and `only_figures` that match nothing."""
    for section, patterns in config.get("without", {}).items():
        for pattern in patterns:
            if not fnmatch.filter(config.get(section, {}), pattern):
                known = config.get(section, {})
                yield (
                    f"without/{section}: there is no {pattern!r} under {section}."
                    f"{instead(pattern, known)}"
                )
    for stem in config.get("only_figures", []):
        if not _of_stem(stem, config["figures"]):
            yield f"only_figures: there is no figure {stem!r}.{instead(stem, config['figures'])}"


def _of_stem(stem: str, figures: Iterable[str]) -> list[str]:
    """Figures that the first words of their names mean, such as `fig04`."""
    return [name for name in figures if contents.is_of(name, stem)]


def asked_for(config: Config) -> dict[str, list[str]]:
    """Names that `without` and `only_figures` remove, by section; config has been checked."""
    removed = {
        section: [name for pattern in patterns for name in fnmatch.filter(config[section], pattern)]
        for section, patterns in config.get("without", {}).items()
        if section in config
    }
    if stems := config.get("only_figures"):
        chosen = {name for stem in stems for name in _of_stem(stem, config["figures"])}
        others = [name for name in config["figures"] if name not in chosen]
        removed["figures"] = [*removed.get("figures", []), *others]
    return removed


def without(config: Config, removed: Removed) -> tuple[dict[str, Any], list[str]]:
    """Config without some entries and without what refers to nothing else.

    Parameters
    ----------
    config : config whose values have been checked.
    removed : names of entries to remove by section; some may be gone already.

    Returns
    -------
    The config, and names of the figures that are left out because nothing is left that they could
    show. Config is returned as it is if nothing is removed.
    """
    gone = {section: set(names) for section, names in removed.items() if names}
    if not gone:
        return dict(config), []
    config = {
        **config,
        **{
            section: {name: e for name, e in config[section].items() if name not in names}
            for section, names in gone.items()
            if section in config
        },
    }
    pruned_suites = _pruned_suites(config, gone)
    sets = _pruned_lists(
        config.get("variant_sets", {}), config["variants"], gone.get("variants", ())
    )
    for section, lists in (("suites", pruned_suites), ("variant_sets", sets)):
        emptied = {name for name, members in lists.items() if not members}
        gone[section] = {*gone.get(section, ()), *emptied}
    sources = config["matched_formats"]["sources"]
    config |= {
        "suites": {name: tasks for name, tasks in pruned_suites.items() if tasks},
        "matched_formats": {
            **config["matched_formats"],
            "sources": {t: s for t, s in sources.items() if t not in gone.get("tasks", ())},
        },
        **({"variant_sets": {n: each for n, each in sets.items() if each}} if sets else {}),
    }
    figures = {name: _pruned(entry, config, gone) for name, entry in config["figures"].items()}
    shown = {name: entry for name, entry in figures.items() if entry is not None}
    return {**config, "figures": shown}, [name for name in figures if name not in shown]


def _pruned_suites(config: Config, gone: Mapping[str, Collection[str]]) -> dict[str, list[str]]:
    """Suites without removed tasks; those that join suites, without removed and empty ones."""
    of_tasks = _pruned_lists(
        config["suites"], [*config["tasks"], *config["suites"]], gone.get("tasks", ())
    )
    left = [name for name, entries in of_tasks.items() if entries]
    emptied = {*gone.get("suites", ()), *(of_tasks.keys() - {*left})}
    return _pruned_lists(of_tasks, [*config["tasks"], *left], emptied)


def _pruned_lists(
    lists: Mapping[str, list[str]], known: Iterable[str], removed: Collection[str]
) -> dict[str, list[str]]:
    return {name: _pruned_selection(each, [*known], removed) for name, each in lists.items()}


def _pruned_selection(
    selection: Iterable[str], known: Collection[str], removed: Collection[str]
) -> list[str]:
    """Entries of a selection, without those that matched only what has been removed."""

    def matches(entry: str, names: Iterable[str]) -> bool:
        pattern = re.sub(r"\{[^}]*\}", "*", entry)  # a share of the depth, such as drop-{1/8}a
        return any(fnmatch.fnmatchcase(name, pattern) for name in names)

    return [each for each in selection if matches(each, known) or not matches(each, removed)]


def _pruned(
    entry: Mapping[str, Any], config: Config, gone: Mapping[str, Collection[str]]
) -> dict[str, Any] | None:
    """The entry of a figure without what has been removed; None if nothing is left to show."""
    known = {
        "variant": [*config["variants"], *config.get("variant_sets", {})],
        "suite": [*config["suites"]],
    }
    removed = {
        "variant": {*gone.get("variants", ()), *gone["variant_sets"]},
        "suite": gone["suites"],
    }
    reads = {
        table: {
            key: _pruned_selection(names, known[key], removed[key]) if key in known else names
            for key, names in keys.items()
        }
        for table, keys in entry["reads"].items()
    }
    if any(not names for keys in reads.values() for names in keys.values()):
        return None
    by_formats = {"matched_samples", "format_difference"} & reads.keys()
    if by_formats and not config["matched_formats"]["sources"]:
        return None
    settings = _pruned_settings(entry.get("settings", {}), reads, config, gone)
    if settings is None:
        return None
    return {**entry, "reads": reads, **({"settings": settings} if settings else {})}


def _pruned_settings(
    settings: Mapping[str, Any],
    reads: Mapping[str, Mapping[str, Any]],
    config: Config,
    gone: Mapping[str, Collection[str]],
) -> dict[str, Any] | None:
    """Settings with another prompt or task in place of a removed one; None if there is no other."""
    chosen = dict(settings)
    if settings.get("prompt") in gone.get("prompts", ()):
        chosen["prompt"] = next(iter(config["prompts"]))
    for family in ("non_generative", "generative"):
        if settings.get(family) not in gone.get("tasks", ()):
            continue
        named = [
            s for keys in reads.values() for s in _matching(keys.get("suite", ()), config["suites"])
        ]
        tasks_of = suites.written_out(config["suites"])
        tasks = [task for suite in named for task in tasks_of[suite]]
        others = [t for t in tasks if config["tasks"][t]["family"] == family]
        if not others:
            return None
        chosen[family] = others[0]
    return chosen


def _matching(patterns: Iterable[str], names: Iterable[str]) -> list[str]:
    """Names that match one of the patterns."""
    known = list(names)
    return [name for pattern in patterns for name in fnmatch.filter(known, pattern)]
