"""Ask one variant the same items as retrieval, multiple choice and generation."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from lm_eval.api.instance import Instance
from numpy.typing import NDArray

from prunescope import progress
from prunescope.evaluation import matched_formats, text_embedding
from prunescope.evaluation.matched_formats import Item, Passes
from prunescope.evaluation.variant_lm import VariantLM
from prunescope.machine import products, runtime
from prunescope.model import edits, loading
from prunescope.progress import JobError
from prunescope.sandbox import starter
from prunescope.storage import store
from prunescope.tables.schemas import TABLES

SCORED_SPLITS = ("test", "validation")
"""The first of these that a task has is asked."""


def run_matched_formats(
    model_dir: str,
    edit_file: str,
    rows_dirs: Mapping[str, str],
    samples_file: str,
    sources: Mapping[str, Mapping[str, int]],
    n_candidates: int,
    batch_size: int,
    run_code: bool,
    seed: int,
    dtype: str,
    threads: int,
    made_by: Mapping[str, object],
) -> None:
    """Write table `matched_samples` of one variant.

    Parameters
    ----------
    rows_dirs : source -> folder of its task's rows. sources : config's entries, by source.

    Raises
    ------
    JobError
        if a source has too few items, or the sandbox that would run programs does not hold.
    """
    items = {
        source: matched_formats.draw_items(source, rows(rows_dirs[source]), entry["n_items"], seed)
        for source, entry in sources.items()
    }
    passes = proven_sandbox() if run_code and "humaneval" in sources else None
    device = runtime.prepare(threads)
    variant = loading.apply_edit(loading.load(model_dir, dtype, device), edits.read(edit_file))
    products.order_weights(variant)
    lm = VariantLM(variant, loading.load_tokenizer(model_dir), batch_size)
    asked = [
        {"source": source, **row}
        for source, entry in progress.track(sources.items(), "sources")
        for row in ask(lm, source, items[source], n_candidates, entry, seed, passes)
    ]
    table = pa.Table.from_pylist(asked, schema=TABLES["matched_samples"].schema)
    store.write(samples_file, table, "matched_samples", made_by)


def rows(rows_dir: str) -> list[dict[str, Any]]:
    """Rows of the split that is scored."""
    split = next(s for s in SCORED_SPLITS if (Path(rows_dir) / f"{s}.parquet").is_file())
    found: list[dict[str, Any]] = store.read_parquet(
        Path(rows_dir) / f"{split}.parquet"
    ).to_pylist()
    return found


def proven_sandbox() -> Passes:
    """Runs a program where it can do no harm. Raises SandboxError if it could."""
    starter.prove()
    return lambda program, tests: starter.run(program, tests).passed


def ask(
    lm: VariantLM,
    source: str,
    items: Sequence[Item],
    n_candidates: int,
    entry: Mapping[str, int],
    seed: int,
    passes: Passes | None,
) -> Iterator[dict[str, object]]:
    """Rows of `matched_samples` of one source: every item in every format."""
    questions = [item.question for item in items]
    answers = [item.answer for item in items]
    check_lengths(lm, source, items, entry["max_new_tokens"])
    yield from matched_formats.retrieval_rows(
        items, embeddings(lm, questions), embeddings(lm, answers)
    )
    candidates = matched_formats.draw_candidates(len(items), n_candidates, seed)
    log_p = likelihoods(
        lm, [(questions[i], [answers[j] for j in c]) for i, c in enumerate(candidates)]
    )
    yield from matched_formats.choice_rows(items, candidates, log_p)
    texts = generated(lm, questions, matched_formats.SOURCES[source].ends, entry["max_new_tokens"])
    yield from matched_formats.generation_rows(source, items, texts, passes)


def check_lengths(lm: VariantLM, source: str, items: Sequence[Item], max_new_tokens: int) -> None:
    """Raise JobError if a question does not fit the model's positions with any of the answers."""
    answer = max(len(lm.tok_encode(item.answer + matched_formats.CLOSING)) for item in items)
    room = lm.max_length - max(answer, max_new_tokens)
    lengths = [len(lm.tok_encode(item.question)) for item in items]
    longest = max(range(len(items)), key=lambda place: lengths[place])
    if lengths[longest] > room:
        raise JobError(
            f"matched_formats/sources/{source}: the question of item {items[longest].item} has "
            f"{lengths[longest]} tokens, but the model reads {lm.max_length} and the answers take "
            f"up to {lm.max_length - room}. Set a smaller max_new_tokens, name a task of shorter "
            "texts under `task`, or leave the model out."
        )


def embeddings(lm: VariantLM, texts: Sequence[str]) -> NDArray[np.floating]:
    """Last token's hidden state after the final norm, (texts, d)."""
    sequences = [lm.tok_encode(text + matched_formats.CLOSING) for text in texts]
    return text_embedding.embed(lm.model, sequences, "last_token", normalize=False).numpy()


def likelihoods(lm: VariantLM, asked: Sequence[tuple[str, Sequence[str]]]) -> list[list[float]]:
    """log p in nats of every candidate after its question."""
    pairs = [(question, text) for question, texts in asked for text in texts]
    found = iter(lm.loglikelihood([_request("loglikelihood", *pair) for pair in pairs]))
    return [[next(found)[0] for _ in texts] for _, texts in asked]


def generated(
    lm: VariantLM, questions: Sequence[str], ends: Sequence[str], max_new_tokens: int
) -> list[str]:
    """What the model writes after each question, greedily, up to the first of `ends`."""
    how = {"until": list(ends), "do_sample": False, "max_gen_toks": max_new_tokens}
    return lm.generate_until([_request("generate_until", question, how) for question in questions])


def _request(kind: str, *arguments: object) -> Instance:
    return Instance(request_type=kind, doc={}, arguments=arguments, idx=0)


if __name__ == "__main__":
    snakemake: Any  # put here by Snakemake

    names = ("sources", "n_candidates", "batch_size", "run_code", "seed", "dtype")
    settings = {name: snakemake.params[name] for name in names}
    with progress.job("run_matched_formats", snakemake.log[0]):
        run_matched_formats(
            model_dir=snakemake.input.model,
            edit_file=snakemake.input.edit,
            rows_dirs=dict(zip(snakemake.params.sources, snakemake.input.rows, strict=True)),
            samples_file=snakemake.output.samples,
            threads=snakemake.config["threads"],
            made_by=store.provenance("run_matched_formats", settings),
            **settings,
        )
