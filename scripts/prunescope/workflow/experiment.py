"""The experiment that config describes: checked and expanded before the first job.

`config` defines which values each key may have. `wheels`, `sweeps` and `references` expand entries
that stand for several others. `requests` checks that the models, the disk and the workflow can
provide what config requests, and `messages` describes mistakes in sentences.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from prunescope.workflow import (
    depth,
    messages,
    model_plan,
    own_model,
    own_texts,
    references,
    removals,
    requests,
    source_requests,
    sweeps,
    wheels,
    yaml_keys,
)
from prunescope.workflow.config import Experiment
from prunescope.workflow.messages import ConfigError
from prunescope.workflow.requests import figure_files

__all__ = ["ASKING", "ConfigError", "check_files", "figure_files", "one_of", "resolve"]

Config = dict[str, Any]

ASKING = ("instruction", "queries_are_documents")
"""Keys of a retrieval set about how its queries are asked, which do not affect its files."""

_SHORTHAND = (
    *("wheels", "model_sets", "variant_sets", "model", "model_name", "also"),
    *("replace", "without", "only_figures"),
)
"""Keys that stand for entries of other sections. They are removed once these are written out."""

yaml_keys.refuse_in(yaml.FullLoader, ConfigError)
"""Makes the loader with which Snakemake reads config files refuse keys that are given twice.

Snakemake itself has read its config files before this module is imported, so that `check_files`
checks them separately.
"""


def check_files(files: Iterable[str | Path]) -> None:
    """Raise ConfigError if a config file gives a key twice, which merged config no longer shows."""
    messages.refuse(yaml_keys.all_duplicates(files))


def resolve(config: Mapping[str, Any], basedir: str | Path) -> Config:
    """Check config, and return it with sweeps, wheels, sets and patterns expanded.

    Parameters
    ----------
    config : as Snakemake merged it from config.yaml, overlays and the command line.
    basedir : folder of the Snakefile, to which paths of sources are relative.

    Raises
    ------
    ConfigError
        if config does not fit the schema, refers to names that nothing defines, or requests what is
        impossible.
    """
    return resolve_with_notes(config, basedir)[0]


def resolve_with_notes(config: Mapping[str, Any], basedir: str | Path) -> tuple[Config, list[str]]:
    """`resolve`, and sentences about what was left out or changed because it does not fit."""
    folder = Path(basedir)
    messages.refuse(_unusable_values(config, "config"))
    config, asked_before, own_notes = own_texts.written_out(config, folder)
    config = own_model.written_out(config, folder)
    n_blocks = model_plan.depth_of_default(config, folder)
    messages.refuse(depth.mistakes(config, n_blocks))
    n_blocks = n_blocks or depth.ASSUMED
    config, replaced = removals.replaced(depth.in_variants(config, n_blocks))
    replaced["prompts"] = [*replaced.get("prompts", []), *asked_before]
    messages.refuse([*sweeps.mistakes(config.get("variants")), *wheels.mistakes(config)])
    checked = _checked(
        {
            **wheels.written_out(config, config.get("wheels", {})),
            "variants": sweeps.expanded(config.get("variants", {})),
        }
    )
    messages.refuse([*removals.mistakes(checked), *own_model.mistakes(checked)])
    chosen, notes = _chosen(depth.written_out(checked, n_blocks), replaced, folder)
    messages.refuse(references.mistakes(chosen))
    expanded = {**chosen, **references.written_out(chosen)}
    resolved = source_requests.with_paths(_without(expanded, _SHORTHAND), folder)
    messages.refuse(requests.mistakes(resolved, folder))
    return resolved, [*notes, *own_notes]


def _chosen(
    config: Config, replaced: Mapping[str, Sequence[str]], basedir: Path
) -> tuple[Config, list[str]]:
    """Config without what it leaves out and what its model cannot have, and sentences about that.

    Parameters
    ----------
    config : config whose values have been checked.
    replaced : names that `replace` has removed, by section.
    basedir : folder of the Snakefile.
    """
    removed = {section: list(names) for section, names in removals.asked_for(config).items()}
    for section, names in replaced.items():
        removed[section] = [*removed.get(section, []), *names]
    notes: list[str] = []
    if "model" in config:
        config, unfit, notes = own_model.fitted(config, basedir)
        removed["variants"] = [*removed.get("variants", []), *unfit]
    config, emptied = removals.without(config, removed)
    if "model" in config:
        config, impossible = own_model.shown_alone(config)
        emptied += impossible
    if emptied:
        notes.append(f"Left out, because nothing is left to show: {', '.join(emptied)}.")
    if not config["figures"]:
        messages.refuse(["figures: none is left to show. Leave out less."])
    return config, notes


def _without(config: Config, keys: Iterable[str]) -> Config:
    return {key: value for key, value in config.items() if key not in keys}


def _checked(config: Config) -> Config:
    """Config as the pydantic models validate it, with the same keys in the same order."""
    try:
        experiment = Experiment.model_validate(config)
    except ValidationError as error:
        messages.refuse(messages.of_models(error))
        raise
    validated = experiment.model_dump(by_alias=True, exclude_unset=True, warnings=False)
    ordered: Config = _in_order(validated, config)
    return ordered


def _in_order(validated: Any, config: Any) -> Any:
    """Validated values with the keys in the order of config, in which variants are listed."""
    if isinstance(validated, dict):
        return {key: _in_order(validated[key], value) for key, value in config.items()}
    if isinstance(validated, list):
        return [_in_order(item, other) for item, other in zip(validated, config, strict=True)]
    return validated


def one_of(names: Iterable[str]) -> str:
    """Regular expression that matches exactly these names, or nothing if there are none."""
    return "|".join(re.escape(name) for name in names) or r"(?!)"


def _unusable_values(value: Any, where: str) -> Iterator[str]:
    """Refuse empty values, keys that YAML does not read as text, and NaN or infinite numbers."""
    if value is None:
        yield f"{where} is empty. Give it a value, or remove the key."
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{where} is {value}, which is not a number to compute with."
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                yield f"{where} has the name {key!r}, which YAML does not read as text. Quote it."
            yield from _unusable_values(item, _join(where, key))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for index, item in enumerate(value):
            yield from _unusable_values(item, _join(where, index))


def _join(where: str, key: object) -> str:
    return str(key) if where == "config" else f"{where}/{key}"
