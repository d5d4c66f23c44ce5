"""The experiment that config describes: checked and expanded before the first job.

`config` says what each key may hold, `sweeps` and `references` write out what stands for several
names, `requests` tells what cannot be given, and `messages` how a mistake is said.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from prunescope.workflow import (
    messages,
    references,
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
"""Keys of a retrieval set that say how it is asked, not what is in it."""

_SHORTHAND = ("wheels", "model_sets", "variant_sets")
"""Sections that name things for others to refer to; written out, nothing is left of them."""

yaml_keys.refuse_in(yaml.FullLoader, ConfigError)
"""The loader Snakemake reads config files with: a program that reads them so after importing this
module is told of keys given twice. Snakemake's own reading is before any import: `check_files`."""


def check_files(files: Iterable[str | Path]) -> None:
    """Raise ConfigError if a file of config gives a key twice; merged config no longer shows it."""
    messages.refuse(yaml_keys.all_duplicates(files))


def resolve(config: Mapping[str, Any], basedir: str | Path) -> Config:
    """Config with sweeps and patterns expanded, and nothing left to go wrong in it.

    Parameters
    ----------
    config : as Snakemake merged it from config.yaml, overlays and the command line.
    basedir : folder of the Snakefile, which relative paths of sources start from.

    Raises
    ------
    ConfigError
        if config breaks the schema, names what does not exist, or asks for what cannot be.
    """
    messages.refuse(_unusable_values(config, "config"))
    messages.refuse([*sweeps.mistakes(config.get("variants")), *wheels.mistakes(config)])
    checked = _checked(
        {
            **wheels.written_out(config, config.get("wheels", {})),
            "variants": sweeps.expanded(config.get("variants", {})),
        }
    )
    messages.refuse(references.mistakes(checked))
    named = {**checked, **references.written_out(checked)}
    resolved = source_requests.with_paths(_without(named, _SHORTHAND), Path(basedir))
    messages.refuse(requests.mistakes(resolved, Path(basedir)))
    return resolved


def _without(config: Config, keys: Iterable[str]) -> Config:
    return {key: value for key, value in config.items() if key not in keys}


def _checked(config: Config) -> Config:
    """Config as its models have it: the same keys in the same order, and no others."""
    try:
        experiment = Experiment.model_validate(config)
    except ValidationError as error:
        messages.refuse(messages.of_models(error))
        raise
    dumped = experiment.model_dump(by_alias=True, exclude_unset=True, warnings=False)
    ordered: Config = _in_order(dumped, config)
    return ordered


def _in_order(dumped: Any, written: Any) -> Any:
    """What the models hold in the order in which it is written, which variants are listed in."""
    if isinstance(dumped, dict):
        return {key: _in_order(dumped[key], value) for key, value in written.items()}
    if isinstance(dumped, list):
        return [_in_order(item, other) for item, other in zip(dumped, written, strict=True)]
    return dumped


def one_of(names: Iterable[str]) -> str:
    """Regular expression that matches exactly these names, or nothing if there are none."""
    return "|".join(re.escape(name) for name in names) or r"(?!)"


def _unusable_values(value: Any, where: str) -> Iterator[str]:
    """Empty values, names that YAML did not read as text, numbers that are none."""
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
