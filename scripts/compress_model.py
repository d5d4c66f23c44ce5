"""Compress one dense model by one method: what the method reads in, edit and report out."""

import importlib
import json
import time
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from prunescope import progress
from prunescope.compression import methods
from prunescope.compression.passes import ForwardPasses
from prunescope.model import edits
from prunescope.storage import store
from prunescope.tables.schemas import TABLES


def compress_model(
    files: Mapping[str, str],
    settings: Mapping[str, object],
    passes: ForwardPasses,
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
    passes : how calibration passes are run.
    edit_file, report_file, run_file : what is written.
    made_by : the provenance that they carry.
    """
    method = str(settings["method"])
    running = (
        importlib.import_module("prunescope.compression.evidence") if "model" in files else None
    )
    if running is not None:
        evidence = running.load(files, passes)
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
        "threads": passes.threads,
        "forward_dtype": None,
    }
    if running is not None:
        run["peak_memory_mb"] = running.peak_memory_mb()
        run["n_tokens"] = evidence["calibration"].token_ids.numel()
        run["forward_dtype"] = passes.forward_dtype
    schema = TABLES["compression_run"].schema
    store.write(run_file, pa.Table.from_pylist([run], schema), "compression_run", made_by)


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    params, threads = snakemake.params, snakemake.config["threads"]
    recorded = {
        **params.settings,
        "dtype": params.dtype,
        "forward_dtype": params.forward_dtype,
        "threads": threads,
    }
    with progress.job("compress_model", snakemake.log[0]):
        compress_model(
            files={name: file for name, file in snakemake.input.items() if file},
            settings=params.settings,
            passes=ForwardPasses(params.dtype, params.kind, params.forward_dtype, threads),
            edit_file=snakemake.output.edit,
            report_file=snakemake.output.report,
            run_file=snakemake.output.run,
            made_by=store.provenance("compress_model", recorded),
        )
