"""Ask a variant the same items in three formats: retrieval, multiple choice and generation.

`matched_formats` draws the items and scores the answers; this module runs the model.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lm_eval.api.instance import Instance
from numpy.typing import NDArray

from prunescope.evaluation import matched_formats, text_embedding
from prunescope.evaluation.matched_formats import Item, Passes
from prunescope.evaluation.variant_lm import VariantLM
from prunescope.progress import JobError
from prunescope.sandbox import starter
from prunescope.storage import store

SCORED_SPLITS = ("test", "validation")
"""Splits to take items from; the first that a task has is used."""


@dataclass(frozen=True)
class MatchedSettings:
    """Settings of the matched formats.

    Attributes
    ----------
    sources : entries of the config by source: `n_items`, and `max_new_tokens` of an answer.
    n_candidates : number of options of a multiple-choice question.
    batch_size : texts that are written at once.
    run_code : whether to run generated programs, in the sandbox.
    seed : seed for drawing items and candidates.
    """

    sources: Mapping[str, Mapping[str, int]]
    n_candidates: int
    batch_size: int
    run_code: bool
    seed: int


def rows(rows_dir: str) -> list[dict[str, Any]]:
    """Rows of the split from which items are drawn."""
    split = next(s for s in SCORED_SPLITS if (Path(rows_dir) / f"{s}.parquet").is_file())
    rows_of_split: list[dict[str, Any]] = store.read_parquet(
        Path(rows_dir) / f"{split}.parquet"
    ).to_pylist()
    return rows_of_split


def sandboxed_passes() -> Passes:
    """A function that runs the tests of a program in the sandbox.

    Raises SandboxError if a program could escape from it.
    """
    starter.prove()
    return lambda program, tests: starter.run(program, tests).passed


def ask(
    lm: VariantLM,
    source: str,
    items: Sequence[Item],
    settings: MatchedSettings,
    passes: Passes | None,
) -> Iterator[dict[str, object]]:
    """Rows of `matched_samples` of one source: every item in every format.

    Parameters
    ----------
    lm : the variant.
    source : name of the source.
    items : from `matched_formats.draw_items`.
    settings : number of candidates, seed and length of answers.
    passes : runs the tests of a generated program; None to run no programs.
    """
    max_new_tokens = settings.sources[source]["max_new_tokens"]
    questions = [item.question for item in items]
    answers = [item.answer for item in items]
    check_lengths(lm, source, items, max_new_tokens)
    yield from matched_formats.retrieval_rows(
        items, embeddings(lm, questions), embeddings(lm, answers)
    )
    candidates = matched_formats.draw_candidates(len(items), settings.n_candidates, settings.seed)
    log_p = likelihoods(
        lm, [(questions[i], [answers[j] for j in c]) for i, c in enumerate(candidates)]
    )
    yield from matched_formats.choice_rows(items, candidates, log_p)
    texts = generated(lm, questions, matched_formats.SOURCES[source].ends, max_new_tokens)
    yield from matched_formats.generation_rows(source, items, texts, passes)


def check_lengths(lm: VariantLM, source: str, items: Sequence[Item], max_new_tokens: int) -> None:
    """Raise JobError if a question with the longest answer exceeds the model's positions.

    Parameters
    ----------
    lm : the model and its tokenizer.
    source : name of the data set, for the message.
    items : the questions.
    max_new_tokens : greatest length of an answer, in tokens.
    """
    longest_answer = max(
        len(lm.tok_encode(item.answer + matched_formats.CLOSING)) for item in items
    )
    room = lm.max_length - max(longest_answer, max_new_tokens)
    lengths = [len(lm.tok_encode(item.question)) for item in items]
    longest = max(range(len(items)), key=lambda index: lengths[index])
    if lengths[longest] > room:
        raise JobError(
            f"matched_formats/sources/{source}: the question of item {items[longest].item} has "
            f"{lengths[longest]} tokens, but the model reads {lm.max_length} and the answers take "
            f"up to {lm.max_length - room}. Set a smaller max_new_tokens, name a task of shorter "
            "texts under `task`, or leave the model out."
        )


def embeddings(lm: VariantLM, texts: Sequence[str]) -> NDArray[np.floating]:
    """Hidden state of the last token after the final norm, (texts, d)."""
    sequences = [lm.tok_encode(text + matched_formats.CLOSING) for text in texts]
    return text_embedding.embed(lm.model, sequences, "last_token", normalize=False).numpy()


def likelihoods(lm: VariantLM, questions: Sequence[tuple[str, Sequence[str]]]) -> list[list[float]]:
    """log p in nats of every candidate, given its question."""
    pairs = [(question, text) for question, texts in questions for text in texts]
    answers = iter(lm.loglikelihood([_request("loglikelihood", *pair) for pair in pairs]))
    return [[next(answers)[0] for _ in texts] for _, texts in questions]


def generated(
    lm: VariantLM, questions: Sequence[str], ends: Sequence[str], max_new_tokens: int
) -> list[str]:
    """Greedy answers to the questions, each up to the first of `ends`.

    Parameters
    ----------
    lm : the model and its tokenizer.
    questions : the texts to continue.
    ends : strings at which an answer ends.
    max_new_tokens : greatest length of an answer, in tokens.
    """
    settings = {"until": list(ends), "do_sample": False, "max_gen_toks": max_new_tokens}
    return lm.generate_until(
        [_request("generate_until", question, settings) for question in questions]
    )


def _request(kind: str, *arguments: object) -> Instance:
    return Instance(request_type=kind, doc={}, arguments=arguments, idx=0)
