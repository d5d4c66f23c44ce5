"""Replicates: what depends on chance, repeated with the further seeds of config.

The first seed makes every artifact. Each further seed makes a second copy of those that depend on
it: the calibration text and what follows from it, and sampled answers. In paths, the name of the
model or variant is followed by the seed, as in wanda-50@1.
"""

from collections.abc import Mapping
from typing import Any

from prunescope.tables.schemas import TABLES

Config = Mapping[str, Any]

DATA_FREE = ("identity", "magnitude", "rtn")
"""Methods whose edits do not depend on calibration text, though some report their error on it."""


def suffixes(config: Config) -> list[str]:
    """What the names of replicates end in, one entry per further seed: ["@1", "@2"]."""
    return [f"@{seed}" for seed in config["seeds"][1:]]


def seed_of(suffix: str, config: Config) -> int:
    """The seed of a suffix; the first one of config if it is empty."""
    return int(suffix.removeprefix("@")) if suffix else int(config["seeds"][0])


def depends_on_seed(table: str, variant: str, config: Config) -> bool:
    """Whether rows of a variant change with the seed.

    They do if its method chooses by calibration text, or if the table has sampled answers. Where
    everything is dropped in turn, nothing is chosen.

    Parameters
    ----------
    table : name of a table in `schemas`.
    variant : name in config.
    config : config after `experiment.resolve` has expanded it.
    """
    settings = config["variants"][variant]
    if settings["method"] not in DATA_FREE and settings.get("n_drop") != "all":
        return True
    is_sampled = "sampling_temperature" in [column.name for column in TABLES[table].columns]
    is_dense = settings["method"] == "identity"
    return is_sampled and not is_dense and bool(config["decoding"]["sampling_temperatures"])
