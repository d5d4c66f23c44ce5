"""Generate the answers of the dense model to all prompts, which are the context of every trace."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from prunescope import progress
from prunescope.model import dense_answers
from prunescope.model.sampling import GenerationSettings
from prunescope.storage import store
from prunescope.tables.schemas import TABLES


def generate_dense(
    model_dir: str,
    prompt_texts: Mapping[str, Mapping[str, str]],
    prompting: Mapping[str, Any],
    decoding: GenerationSettings,
    answers_file: str,
    dtype: str,
    threads: int,
    made_by: Mapping[str, object],
) -> None:
    """Write table `dense_answer` of one model. The prompts are checked before the model is loaded.

    Parameters
    ----------
    model_dir : folder of the dense model.
    prompt_texts : section `prompts` of config.
    prompting : section `prompting` of config, with the settings of the chat template.
    decoding : length of the answers and sampling.
    answers_file : the file to write.
    dtype, threads : number type of the weights, and number of CPU threads.
    made_by : provenance, written into the metadata of the file.

    Raises
    ------
    JobError
        if a prompt cannot be rendered, or needs more positions than the model has.
    """
    rows = dense_answers.rows(model_dir, prompt_texts, prompting, decoding, dtype, threads)
    table = pa.Table.from_pylist(rows, schema=TABLES["dense_answer"].schema)
    store.write(answers_file, table, "dense_answer", made_by)


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    with progress.job("generate_dense", snakemake.log[0]):
        generate_dense(
            model_dir=snakemake.input.model,
            prompt_texts=snakemake.params.prompts,
            prompting=snakemake.params.prompting,
            decoding=GenerationSettings(**snakemake.params.decoding, seed=snakemake.params.seed),
            answers_file=snakemake.output.answers,
            dtype=snakemake.params.dtype,
            threads=snakemake.config["threads"],
            made_by=store.provenance(
                "generate_dense",
                {
                    "prompting": snakemake.params.prompting,
                    "dtype": snakemake.params.dtype,
                    "seed": snakemake.params.seed,
                    **snakemake.params.decoding,
                },
            ),
        )
