"""Measure the size and speed of one variant, and how similar its output is to that of dense."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from prunescope import progress
from prunescope.model import loading, prompts
from prunescope.storage import store
from prunescope.tables.schemas import TABLES
from prunescope.tracing import costs
from prunescope.tracing.agreement import agreement


def measure_variant(
    source: loading.VariantSource,
    answers_file: str,
    cost_file: str,
    method: str,
    steps: int,
    made_by: Mapping[str, object],
) -> None:
    """Write table `variant_cost` of one variant; dense is measured in the same job.

    Parameters
    ----------
    source : the variant.
    answers_file : file of table `dense_answer`.
    cost_file : the file to write.
    method : name of the variant's compression method.
    steps : the greatest number of steps of each answer on which the two outputs are compared.
    made_by : provenance, written into the metadata of the file.
    """
    loaded = loading.load_variant(source)
    dense, variant, device = loaded.dense, loaded.variant.model, loaded.dense.device
    answers = prompts.greedy(store.read(answers_file, "dense_answer").to_pylist())
    texts = [
        answer[part] for answer in answers for part in ("prompt_token_ids", "answer_token_ids")
    ]
    token_ids = costs.timed_prompt(texts).to(device)
    prefill, decode = costs.speeds(dense, variant, token_ids)
    row = {
        "method": method,
        "parameters_dense": costs.n_parameters(dense),
        "parameters": costs.n_parameters(variant),
        "nonzero_parameters": costs.n_nonzero(variant),
        "bytes_dense": costs.n_bytes(dense),
        "bytes": costs.n_stored_bytes(dense, variant, loaded.edit),
        "bytes_edit": Path(source.edit_file).stat().st_size,
        "kv_cache_bytes_per_token_dense": costs.cache_bytes_per_token(dense, token_ids),
        "kv_cache_bytes_per_token": costs.cache_bytes_per_token(variant, token_ids),
        **prefill.columns("prefill"),
        **decode.columns("decode"),
        "same_operations": costs.has_same_operations(dense, variant),
        "prefill_tokens": len(token_ids),
        "decoded_tokens": costs.DECODED_TOKENS,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": source.threads,
        **agreement(dense, variant, answers, steps)._asdict(),
    }
    table = pa.Table.from_pylist([row], schema=TABLES["variant_cost"].schema)
    store.write(cost_file, table, "variant_cost", made_by)


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    recorded = {name: snakemake.params[name] for name in ("method", "dtype", "steps")}
    with progress.job("measure_variant", snakemake.log[0]):
        measure_variant(
            source=loading.VariantSource(
                model_dir=snakemake.input.model,
                edit_file=snakemake.input.edit,
                dtype=snakemake.params.dtype,
                threads=snakemake.threads,
            ),
            answers_file=snakemake.input.answers,
            cost_file=snakemake.output.cost,
            method=snakemake.params.method,
            steps=snakemake.params.steps,
            made_by=store.provenance("measure_variant", recorded),
        )
