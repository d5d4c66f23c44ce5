"""Check that prunescope reads one model correctly, and measure its noise floor, before any use."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from prunescope import progress
from prunescope.checking import model_check, surprisal
from prunescope.machine import runtime
from prunescope.model import loading, tokenization
from prunescope.progress import LOG, JobError
from prunescope.storage import store
from prunescope.tables.schemas import TABLES


def check_model(
    model_dir: str,
    checks_file: str,
    noise_file: str,
    surprisal_file: str,
    dtype: str,
    kind: str,
    threads: int,
    made_by: Mapping[str, object],
) -> None:
    """Write tables `model_check`, `noise_floor` and `surprisal` of one model.

    Parameters
    ----------
    model_dir : folder of the dense model.
    checks_file, noise_file, surprisal_file : the files to write, one per table.
    dtype, kind, threads : number type of the weights, kind of the model, and number of CPU
        threads.
    made_by : provenance, written into the metadata of the files.

    Raises
    ------
    JobError
        if the checkpoint is incomplete or not used completely, or if a check fails. Nothing is
        written then.
    """
    device = runtime.prepare(threads)
    model = loading.load(model_dir, dtype, device, kind)
    tokenizer = tokenization.load(model_dir)
    token_ids = model_check.encoded(
        lambda text: tokenization.text_ids(tokenizer, text),
        tokenization.PROBES,
        min(model_check.TOKENS, model_check.longest(model) - 1),
    )
    checks = [
        model_check.vocabulary(model, tokenization.n_tokens(Path(model_dir) / "tokenizer.json")),
        model_check.tokenization_of(tokenizer, model_dir),
        model_check.finite_weights(model),
    ]
    refuse_failed(checks, model_dir)  # with such a fault, the model may not even run
    structure = model_check.structure(model, token_ids, kind)
    refuse_failed(structure, model_dir)
    causal = kind == "causal"
    noise = model_check.noise_floor(model, token_ids) if causal else empty("noise_floor")
    predicted = surprisal.surprisal(model, token_ids) if causal else empty("surprisal")
    store.write(checks_file, model_check.as_rows([*checks, *structure]), "model_check", made_by)
    store.write(noise_file, noise, "noise_floor", made_by)
    store.write(surprisal_file, predicted, "surprisal", made_by)


def refuse_failed(checks: Sequence[model_check.Check], model_dir: str) -> None:
    """Log what was measured, and raise JobError if a check failed."""
    for check in checks:
        LOG.info("%s: %.3g, at most %.3g", check.check, check.measured, check.tolerance)
    if failed := model_check.failures(checks):
        raise JobError(f"model {model_dir} fails its check and is not used. {failed}")


def empty(table: str) -> pa.Table:
    """A table of an encoder, which neither decodes nor gives probabilities."""
    return TABLES[table].schema.empty_table()


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    settings = {"dtype": snakemake.params.dtype, "kind": snakemake.params.kind}
    with progress.job("check_model", snakemake.log[0]):
        check_model(
            model_dir=snakemake.input.model,
            checks_file=snakemake.output.check,
            noise_file=snakemake.output.noise,
            surprisal_file=snakemake.output.surprisal,
            threads=snakemake.config["threads"],
            made_by=store.provenance("check_model", settings),
            **settings,
        )
