"""Look after a store: `make verify` finds damaged files, `make orphans` those no longer needed.

    python -m prunescope.workflow.store_care verify FOLDER...
    python -m prunescope.workflow.store_care orphans FOLDER... [--remove] --snakemake [ARGUMENT...]

These are the commands that the Makefile runs, with PYTHONPATH=scripts.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import duckdb

from prunescope import progress
from prunescope.report.bundle import METADATA
from prunescope.storage import digests, seals, store
from prunescope.workflow import records


def artifacts(folders: Iterable[Path]) -> list[Path]:
    """Sealed artifacts and models in the folders.

    Exported checkpoints and bundles belong to the user and are left out.
    """
    files = [file for folder in folders for file in records.files(folder)]
    exported = {file.parent for file in files if file.name in ("prunescope.json", METADATA)}
    return [file for file in files if exported.isdisjoint(file.parents)]


def faults(folders: Iterable[Path]) -> Iterator[str]:
    """One line for every artifact whose bytes are not those that were written.

    All files are read. Tables, edits, figures, manifests and pages are compared with their seals,
    and the files of models with their manifests. DuckDB checks the blocks of catalogs itself.
    """
    files = artifacts(folders)
    pages = [page for folder in folders for page in folder.glob("*.html")]
    catalogs = [catalog for folder in folders for catalog in folder.glob("*.duckdb")]
    models = [file for file in files if file.name.startswith("model=") and file.suffix == ".json"]
    model_folders = {manifest.with_suffix("") for manifest in models}
    sealed = [file for file in files if model_folders.isdisjoint(file.parents)]
    for file in progress.track([*sealed, *pages, *catalogs], "verifying"):
        is_whole = _opens if file.suffix == ".duckdb" else seals.is_whole
        if not file.is_file() or not is_whole(file):
            yield f"{file} is damaged. Remove it and run snakemake again to make it anew."
    for manifest in progress.track(models, "verifying models"):
        if seals.is_whole(manifest):
            yield from _changed_files(manifest)


def _opens(catalog: Path) -> bool:
    """Whether DuckDB finds every block of a catalog as it was written."""
    try:
        with duckdb.connect(str(catalog), read_only=True) as connection:
            connection.sql("SELECT * FROM duckdb_columns()").fetchall()
    except duckdb.Error:
        return False
    return True


def _changed_files(manifest: Path) -> Iterator[str]:
    for name, entry in store.read_json(manifest)["files"].items():
        file = manifest.with_suffix("") / name
        if not file.is_file() or digests.sha256(file) != entry["sha256"]:
            yield (
                f"{file} is not what was fetched. Remove {manifest} and run snakemake again to "
                "fetch the model anew."
            )


def orphans(folders: Iterable[Path], reached: Iterable[str]) -> list[Path]:
    """Artifacts in the folders that no job of the present config writes.

    Parameters
    ----------
    folders : the folders to search.
    reached : outputs of the jobs of the present config, as `reached_by` returns them.
    """
    known_paths = set(reached)
    return [
        file
        for file in artifacts(folders)
        if not known_paths & {str(file), *map(str, file.parents)}
    ]


def reached_by(arguments: Sequence[str]) -> list[str]:
    """Outputs of all jobs that the report needs, according to Snakemake.

    Parameters
    ----------
    arguments : further arguments of Snakemake, such as its config files.

    Raises
    ------
    SystemExit
        if Snakemake cannot plan, which it reports itself, or names no output, so that orphans
        cannot be told from results.
    """
    command = [sys.executable, "-m", "snakemake", "--summary", *arguments]
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if process.returncode:
        raise SystemExit(process.returncode)
    reached = [line.split("\t")[0] for line in process.stdout.splitlines()[1:] if "\t" in line]
    if not reached:
        raise SystemExit(
            "Snakemake names no output of this config, so no orphans were looked for. Check the "
            "config file."
        )
    return reached


def main(arguments: Sequence[str]) -> int:
    """Print the damaged files or the orphans; returns the exit status, 1 if a file is damaged."""
    parser = argparse.ArgumentParser(prog="prunescope.workflow.store_care")
    parser.add_argument("task", choices=("verify", "orphans"))
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--remove", action="store_true", help="delete the orphans")
    parser.add_argument("--snakemake", nargs=argparse.REMAINDER, default=[])
    options = parser.parse_args(arguments)
    if options.task == "verify":
        damaged = list(faults(options.folders))
        sys.stdout.write("\n".join([*damaged, f"{len(damaged)} artifacts damaged."]) + "\n")
        return 1 if damaged else 0
    unreached = orphans(options.folders, reached_by(options.snakemake))
    sizes = [file.lstat().st_size / 1e6 for file in unreached]  # size of a link, not of its target
    for file, size in zip(unreached, sizes, strict=True):
        sys.stdout.write(f"{size:10.3f} MB  {file}\n")
        if options.remove:
            file.unlink()
    suffix = ", removed" if options.remove else ""
    sys.stdout.write(f"{len(unreached)} orphans, {sum(sizes):.1f} MB{suffix}.\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
