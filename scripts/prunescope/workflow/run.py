"""Start Snakemake with the wishes that `make` was given as variables.

    make report MODEL=/models/mine SIZE=quick FIGURES="fig04 fig06" CONFIG=mine.yaml

A command line of Snakemake reads values as numbers where it can, and takes words that follow
--configfile for further config files. Here, each wish is quoted and stands in its place.
"""

import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

WISHES = {
    "SIZE": "size",
    "MODEL": "model",
    "NAME": "model_name",
    "ALSO": "also",
    "FIGURES": "only_figures",
}
"""Variables of make, and the keys of config that they set."""

_LISTS = ("ALSO", "FIGURES")


def arguments(wishes: Mapping[str, str], targets: Sequence[str]) -> list[str]:
    """Arguments of Snakemake for these wishes.

    Parameters
    ----------
    wishes : values by the name of a variable of make: those of `WISHES`; CONFIG, overlays separated
        by blanks; CORES; VARIANT, names of variants to export; FORM, the form of exports;
        and TASK, MAX_LOSS and SAVE, the question of `make advise`. Empty ones are no wishes.
    targets : rules or files to make, and further options of Snakemake.
    """
    given = {name: value.strip() for name, value in wishes.items() if value.strip()}
    keys = {
        key: given[name].replace(",", " ").split() if name in _LISTS else _as_model(given[name])
        for name, key in WISHES.items()
        if name in given
    }
    settings = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in keys.items()]
    if "VARIANT" in given:
        variants = given["VARIANT"].replace(",", " ").split()
        form = {"form": given["FORM"]} if "FORM" in given else {}
        settings.append(f"export={json.dumps({'variant': variants, **form})}")
    found = ["--cores", given.get("CORES", "all")]
    if "TASK" in given:
        settings.append(f"advise={json.dumps(_question(given))}")
        found += ["--forcerun", "write_advice"]  # a question that was asked before is answered too
    if "CONFIG" in given:
        found += ["--configfile", *shlex.split(given["CONFIG"])]
    if settings:
        found += ["--config", *settings]
    return [*found, "--", *targets] if targets else found


def _question(given: Mapping[str, str]) -> dict[str, object]:
    """Section `advise` of config for TASK, MAX_LOSS (`5%` or `0.05`) and SAVE."""
    question: dict[str, object] = {"task": given["TASK"]}
    if "MAX_LOSS" in given:
        number, percent = given["MAX_LOSS"].removesuffix("%"), given["MAX_LOSS"].endswith("%")
        try:
            question["max_loss"] = float(number) / (100 if percent else 1)
        except ValueError:
            sys.exit(f"MAX_LOSS is {given['MAX_LOSS']!r}; write a share such as 5% or 0.05.")
    if "SAVE" in given:
        question["save"] = given["SAVE"]
    return question


def _as_model(value: str) -> str:
    """A path with the home folder written out, as the shell leaves `~` within quotes."""
    return str(Path(value).expanduser()) if value.startswith("~") else value


def main(targets: Sequence[str]) -> None:
    """Replace this process by Snakemake."""
    known = (*WISHES, "CONFIG", "CORES", "VARIANT", "FORM", "TASK", "MAX_LOSS", "SAVE")
    wishes = {name: os.environ.get(name, "") for name in known}
    command = [sys.executable, "-m", "snakemake", *arguments(wishes, targets)]
    os.environ.pop("PYTHONPATH", None)  # jobs find the package themselves
    os.execv(command[0], command)  # noqa: S606 no shell takes part


if __name__ == "__main__":
    main(sys.argv[1:])
