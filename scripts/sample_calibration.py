"""Cut calibration sequences from a corpus, in the tokens of one model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from prunescope import progress
from prunescope.compression import calibration
from prunescope.inputs import model_config
from prunescope.model import tokenization
from prunescope.progress import JobError
from prunescope.storage import store


def sample_calibration(
    model_dir: str,
    documents_file: str,
    protocol: str,
    n_sequences: int,
    sequence_length: int,
    seed: int,
    calibration_file: str,
    made_by: Mapping[str, object],
) -> None:
    """Write table `calibration` of one model.

    Parameters
    ----------
    model_dir : folder of the dense model.
    documents_file : file of table `documents`.
    protocol : `window` cuts each sequence from one document; `packed` joins documents.
    n_sequences, sequence_length : number of sequences, and tokens per sequence.
    seed : seed of the choice of documents and positions.
    calibration_file : the file to write.
    made_by : provenance, written into the metadata of the file.

    Raises
    ------
    JobError
        if the model cannot read sequences of that length, or has no embedding for a token.
    """
    check_context(Path(model_dir), sequence_length)
    tokenizer_file = Path(model_dir) / "tokenizer.json"
    documents = store.read(documents_file, "documents")
    size = (n_sequences, sequence_length)
    encode = calibration.encoder(tokenizer_file)
    if protocol == "window":
        rows = calibration.windows(documents, encode, *size, seed)
    else:
        separator = tokenization.separator(model_dir)
        rows = calibration.packed(documents, encode, *size, seed, separator)
    check_embedded(Path(model_dir), rows)
    store.write(calibration_file, rows, "calibration", made_by)


def check_embedded(model_dir: Path, rows: pa.Table) -> None:
    """Raise JobError if a sequence contains a token for which the model has no embedding."""
    config = json.loads((model_dir / "config.json").read_text(encoding="utf-8"))
    if config.get("vocab_size") is not None:
        token_ids = rows["token_ids"].combine_chunks().flatten().to_pylist()
        tokenization.check_ids(token_ids, config["vocab_size"], "the calibration text")


def check_context(model_dir: Path, sequence_length: int) -> None:
    """Raise JobError if the model cannot read a sequence of that length."""
    longest = model_config.positions_in(model_dir)
    if longest is not None and sequence_length > longest:
        raise JobError(
            f"sequence_length is {sequence_length}, but the model reads at most "
            f"{longest} tokens. Set a shorter sequence_length."
        )


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    with progress.job("sample_calibration", snakemake.log[0]):
        settings = snakemake.params.calibration
        sample_calibration(
            model_dir=snakemake.input.model,
            documents_file=snakemake.input.documents[0],
            protocol=settings["protocol"],
            n_sequences=settings["n_sequences"],
            sequence_length=settings["sequence_length"],
            seed=snakemake.params.seed,
            calibration_file=snakemake.output.calibration,
            made_by=store.provenance(
                "sample_calibration", {**settings, "seed": snakemake.params.seed}
            ),
        )
