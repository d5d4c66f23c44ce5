"""Look a store over by hand: `make verify` reads and hashes it, `make orphans` finds what is left.

    python -m prunescope.workflow.store_care verify FOLDER...
    python -m prunescope.workflow.store_care orphans FOLDER... [--remove] --snakemake [ARGUMENT...]

with PYTHONPATH=scripts, as the Makefile calls it.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from prunescope import progress
from prunescope.storage import digests, seals, store
from prunescope.workflow import records


def artifacts(folders: Iterable[Path]) -> list[Path]:
    """Artifacts in the folders; an exported checkpoint is its user's, and none."""
    found = [file for folder in folders for file in records.files(folder)]
    exported = {file.parent for file in found if file.name == "prunescope.json"}
    return [file for file in found if exported.isdisjoint(file.parents)]


def faults(folders: Iterable[Path]) -> Iterator[str]:
    """A line for every artifact that does not hold the bytes it was written with.

    Everything is read: tables, edits, figures and manifests against their seals, the files of
    models against their manifests.
    """
    found = artifacts(folders)
    models = [file for file in found if file.name.startswith("model=") and file.suffix == ".json"]
    of_models = {manifest.with_suffix("") for manifest in models}
    sealed = [file for file in found if of_models.isdisjoint(file.parents)]
    for file in progress.track(sealed, "verifying"):
        if not seals.is_whole(file):
            yield f"{file} is damaged. Remove it and run snakemake again: it is made anew."
    for manifest in progress.track(models, "verifying models"):
        if seals.is_whole(manifest):
            yield from _changed(manifest)


def _changed(manifest: Path) -> Iterator[str]:
    for name, entry in store.read_json(manifest)["files"].items():
        file = manifest.with_suffix("") / name
        if not file.is_file() or digests.sha256(file) != entry["sha256"]:
            yield (
                f"{file} is not what was fetched. Remove {manifest} and run snakemake again: the "
                "model is fetched anew."
            )


def orphans(folders: Iterable[Path], reached: Iterable[str]) -> list[Path]:
    """Artifacts that lie in the folders and that no rule writes by the present config."""
    known = set(reached)
    return [file for file in artifacts(folders) if not known & {str(file), *map(str, file.parents)}]


def reached_by(arguments: Sequence[str]) -> list[str]:
    """Every output of the jobs behind the report, by Snakemake's own account.

    Raises
    ------
    SystemExit
        if Snakemake cannot plan, which it says itself, or names no output: then nothing tells an
        orphan from a result.
    """
    command = [sys.executable, "-m", "snakemake", "--summary", *arguments]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if run.returncode:
        raise SystemExit(run.returncode)
    reached = [line.split("\t")[0] for line in run.stdout.splitlines()[1:] if "\t" in line]
    if not reached:
        raise SystemExit("Snakemake names no output of this config. Nothing was compared.")
    return reached


def main(arguments: Sequence[str]) -> int:
    """Print what is found; the exit status is 1 where something is damaged."""
    parser = argparse.ArgumentParser(prog="prunescope.workflow.store_care")
    parser.add_argument("task", choices=("verify", "orphans"))
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--remove", action="store_true", help="delete the orphans")
    parser.add_argument("--snakemake", nargs=argparse.REMAINDER, default=[])
    asked = parser.parse_args(arguments)
    if asked.task == "verify":
        damaged = list(faults(asked.folders))
        sys.stdout.write("\n".join([*damaged, f"{len(damaged)} artifacts damaged."]) + "\n")
        return 1 if damaged else 0
    left = orphans(asked.folders, reached_by(asked.snakemake))
    sizes = [file.lstat().st_size / 1e6 for file in left]  # of a link, not of a user's weights
    for file, size in zip(left, sizes, strict=True):
        sys.stdout.write(f"{size:10.3f} MB  {file}\n")
        if asked.remove:
            file.unlink()
    done = ", removed" if asked.remove else ""
    sys.stdout.write(f"{len(left)} orphans, {sum(sizes):.1f} MB{done}.\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
