"""Compress one dense model by one method: what the method reads in, edit and report out."""

from collections.abc import Mapping
from typing import Any

from prunescope import edits, methods, progress, store


def compress_model(
    files: Mapping[str, str],
    settings: Mapping[str, object],
    edit_file: str,
    report_file: str,
    made_by: Mapping[str, object],
) -> None:
    """Write the edit and the report of one variant.

    Parameters
    ----------
    files : what the method reads, by the name its `compress` gives it.
    settings : the variant's entry in config, `method` and the method's own settings.
    """
    method = str(settings["method"])
    evidence = [store.read(files[name], name) for name in methods.reads(method)]
    own = {name: value for name, value in settings.items() if name != "method"}
    edit, report = methods.load(method)(*evidence, **own)
    edits.write(edit_file, edit, made_by)
    store.write(report_file, report, "compression_report", made_by)


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    with progress.job("compress_model", snakemake.log[0]):
        compress_model(
            files=dict(snakemake.input.items()),
            settings=snakemake.params.settings,
            edit_file=snakemake.output.edit,
            report_file=snakemake.output.report,
            made_by=store.provenance("compress_model", snakemake.params.settings),
        )
