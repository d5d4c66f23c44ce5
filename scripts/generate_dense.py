"""Generate the answers of the dense model to all prompts, which are the context of every trace."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from prunescope import progress
from prunescope.machine import products, runtime
from prunescope.model import loading, prompts
from prunescope.model.sampling import GREEDY, GenerationSettings
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
    device = runtime.prepare(threads)
    tokenizer = loading.load_tokenizer(model_dir, prompting)
    encoded_prompts = [
        prompts.Asked(name, temperature, prompts.prompt_token_ids(tokenizer, prompt["text"]))
        for temperature in (GREEDY, *decoding.sampling_temperatures)
        for name, prompt in prompt_texts.items()
    ]
    prompts.check_lengths(encoded_prompts, decoding.max_new_tokens, loading.longest(model_dir))
    warn_of_thinking(tokenizer, encoded_prompts)
    model = loading.load(model_dir, dtype, device)
    products.order_weights(model)
    answers = prompts.answers(
        model, tokenizer, encoded_prompts, decoding.max_new_tokens, decoding.seed
    )
    ends = prompts.end_of_text(model, tokenizer)
    rows = prompts.as_rows(prompt_texts, encoded_prompts, answers, tokenizer, ends)
    table = pa.Table.from_pylist(rows, schema=TABLES["dense_answer"].schema)
    store.write(answers_file, table, "dense_answer", made_by)


def warn_of_thinking(tokenizer: Any, encoded_prompts: Sequence[prompts.Asked]) -> None:
    """Warn if the chat template opens a thinking text, because then step 0 is not the answer."""
    names = {
        each.prompt for each in encoded_prompts if prompts.opens_thinking(tokenizer, each.token_ids)
    }
    if names:
        progress.warn(
            f"the chat template opens a thinking text after {', '.join(sorted(names))}: step 0, "
            "where options are read, is part of it. See prompting/chat_template_kwargs in config."
        )


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
