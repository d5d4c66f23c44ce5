"""Compress one dense model by one method, and write the edit and a report of what it removed."""

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
    """Write the edit of one variant, the report of what it removed, and what it cost to compute.

    Parameters
    ----------
    files : files that the method reads, by the name of the corresponding parameter of `compress`.
    settings : the variant's entry in config: `method` and the settings of that method.
    passes : how calibration passes are run.
    edit_file, report_file, run_file : the files to write, of the edit and of tables
        `compression_report` and `compression_run`.
    made_by : provenance, written into the metadata of the files.
    """
    method = str(settings["method"])
    loader = (  # imported only for methods that run the model, because it imports torch
        importlib.import_module("prunescope.compression.evidence") if "model" in files else None
    )
    if loader is not None:
        evidence = loader.load(files, passes)
    else:
        evidence = {name: store.read(file, name) for name, file in files.items()}
    method_settings = {name: value for name, value in settings.items() if name != "method"}
    start = time.perf_counter()
    evidence_read = [evidence.get(name) for name in methods.reads(method)]
    edit, report = methods.load(method)(*evidence_read, **method_settings)
    seconds = time.perf_counter() - start
    edits.write(edit_file, edit, made_by)
    store.write(report_file, report, "compression_report", made_by)
    run = {
        "method": method,
        "settings": json.dumps(method_settings, sort_keys=True),
        "seconds": seconds,
        "peak_memory_mb": None,
        "n_tokens": 0,
        "threads": passes.threads,
        "forward_dtype": None,
    }
    if loader is not None:
        run["peak_memory_mb"] = loader.peak_memory_mb()
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
