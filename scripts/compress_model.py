"""Compress one dense model by one method: what the method reads in, edit and report out."""

import importlib
import json
import time
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from prunescope import progress
from prunescope.compression import methods
from prunescope.model import edits
from prunescope.storage import store
from prunescope.tables.schemas import TABLES


def compress_model(
    files: Mapping[str, str],
    settings: Mapping[str, object],
    dtype: str,
    kind: str,
    forward_dtype: str,
    threads: int,
    edit_file: str,
    report_file: str,
    run_file: str,
    made_by: Mapping[str, object],
) -> None:
    """Write the edit of one variant, the report of what it removed, and what making it took.

    Parameters
    ----------
    files : what the method reads, by the name its `compress` gives it.
    settings : the variant's entry in config, `method` and the method's own settings.
    forward_dtype : number type of calibration passes; `model` for the model's own `dtype`.
    """
    method = str(settings["method"])
    running = (
        importlib.import_module("prunescope.compression.evidence") if "model" in files else None
    )
    if running is not None:
        evidence = running.load(files, dtype, kind, forward_dtype, threads)
    else:
        evidence = {name: store.read(file, name) for name, file in files.items()}
    own = {name: value for name, value in settings.items() if name != "method"}
    began = time.perf_counter()
    edit, report = methods.load(method)(*(evidence[n] for n in methods.reads(method)), **own)
    seconds = time.perf_counter() - began
    edits.write(edit_file, edit, made_by)
    store.write(report_file, report, "compression_report", made_by)
    run = {
        "method": method,
        "settings": json.dumps(own, sort_keys=True),
        "seconds": seconds,
        "peak_memory_mb": None,
        "n_tokens": 0,
        "threads": threads,
        "forward_dtype": None,
    }
    if running is not None:
        run["peak_memory_mb"] = running.peak_memory_mb()
        run["n_tokens"] = evidence["calibration"].token_ids.numel()
        run["forward_dtype"] = dtype if forward_dtype == "model" else forward_dtype
    schema = TABLES["compression_run"].schema
    store.write(run_file, pa.Table.from_pylist([run], schema), "compression_run", made_by)


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    recorded = {
        **snakemake.params.settings,
        "dtype": snakemake.params.dtype,
        "forward_dtype": snakemake.params.forward_dtype,
        "threads": snakemake.config["threads"],
    }
    with progress.job("compress_model", snakemake.log[0]):
        compress_model(
            files={name: file for name, file in snakemake.input.items() if file},
            settings=snakemake.params.settings,
            dtype=snakemake.params.dtype,
            kind=snakemake.params.kind,
            forward_dtype=snakemake.params.forward_dtype,
            threads=snakemake.config["threads"],
            edit_file=snakemake.output.edit,
            report_file=snakemake.output.report,
            run_file=snakemake.output.run,
            made_by=store.provenance("compress_model", recorded),
        )
