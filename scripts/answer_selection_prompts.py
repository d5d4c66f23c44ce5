"""Generate the dense model's answers to the prompts on which sublayers to drop are chosen."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from prunescope import progress
from prunescope.model import dense_answers
from prunescope.model.sampling import GenerationSettings
from prunescope.storage import store
from prunescope.tables.schemas import TABLES


def answer_selection_prompts(
    model_dir: str,
    prompt_texts: Mapping[str, Mapping[str, str]],
    max_new_tokens: int,
    answers_file: str,
    prompting: Mapping[str, Any],
    dtype: str,
    threads: int,
    made_by: Mapping[str, object],
) -> None:
    """Write table `selection_answer` of one model, with greedy answers.

    Parameters
    ----------
    model_dir : folder of the dense model.
    prompt_texts, prompting : sections `selection_prompts` and `prompting` of config.
    max_new_tokens : the greatest length of an answer.
    answers_file : the file to write.
    dtype, threads : number type of the weights, and number of CPU threads.
    made_by : provenance, written into the metadata of the file.

    Raises
    ------
    JobError
        if a prompt cannot be rendered, or needs more positions than the model has.
    """
    decoding = GenerationSettings(max_new_tokens, sampling_temperatures=(), seed=0)  # greedy alone
    rows = dense_answers.rows(model_dir, prompt_texts, prompting, decoding, dtype, threads)
    table = pa.Table.from_pylist(rows, schema=TABLES["selection_answer"].schema)
    store.write(answers_file, table, "selection_answer", made_by)


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    recorded = {name: snakemake.params[name] for name in ("prompting", "max_new_tokens", "dtype")}
    with progress.job("answer_selection_prompts", snakemake.log[0]):
        answer_selection_prompts(
            model_dir=snakemake.input.model,
            prompt_texts=snakemake.params.prompts,
            answers_file=snakemake.output.answers,
            threads=snakemake.config["threads"],
            made_by=store.provenance("answer_selection_prompts", recorded),
            **recorded,
        )
