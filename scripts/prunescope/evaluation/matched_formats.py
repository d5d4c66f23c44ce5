"""The same items in three formats, which differ only in the form of the answer.

A question of SQuAD, GSM8K or HumanEval is asked as retrieval (find its answer among all answers of
the set), as multiple choice (choose among a few answers, by log-likelihood) and as generation. The
model reads the same question in all three. This module draws items and scores tensors and texts; it
runs no model.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from prunescope.evaluation.lm_eval_tasks.answer_scores import exact_match, token_f1
from prunescope.progress import JobError

CLOSING = "\nIn one word:"
"""Text appended to questions and answers before they are embedded by their last hidden state.

It follows PromptEOL (Jiang et al., 2023). Without it, the last word dominates the embedding, and
retrieval is close to chance.
"""

F1_CORRECT = 0.5
"""Smallest token F1 at which a generated answer counts as correct."""

_SOLVED = """Title: Lighthouse
Background: The old lighthouse of Harbour Point was built in 1874 by Ada Holm.
Question: Who built the lighthouse?
Answer: Ada Holm

"""
"""A solved example, which shows that a few words of the text are enough for an answer.

A second example does not improve the scores of SmolLM2.
"""

_CALCULATION = re.compile(r"<<[^>]*>>")
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


@dataclass(frozen=True)
class Item:
    """One question and its answer.

    Attributes
    ----------
    item : index of the row in the split.
    question : what the model reads, in every format.
    answer : the text that should follow it, including the space before it.
    accepted : all correct answers, including `answer`.
    tests : for a program, code that raises an error if the program is wrong.
    """

    item: int
    question: str
    answer: str
    accepted: tuple[str, ...]
    tests: str = field(default="", repr=False)


class Scored(NamedTuple):
    """Score of a generated text; None if its code was not run, or exact match does not apply."""

    correct: bool | None
    score: float | None
    exact: bool | None = None


Passes = Callable[[str, str], bool]
"""Program and its tests -> whether the tests finish without an error."""


class Source(NamedTuple):
    """How the rows of a data set become items, where answers end, and how they are scored."""

    read: Callable[[int, Mapping[str, Any]], Item]
    ends: tuple[str, ...]
    score: Callable[[Item, str, Passes | None], Scored]


# --- sources ----------------------------------------------------------------------------------


def squad_item(item: int, row: Mapping[str, Any]) -> Item:
    """A question about a paragraph, after a solved example, from a row in the format `squad`."""
    about = f"Title: {row['title']}\nBackground: {row['context']}\n"
    question = f"{_SOLVED}{about}Question: {row['question']}\nAnswer:"
    answers = tuple(f" {answer}" for answer in row["answers"])
    return Item(item, question, answers[0], answers)


def squad_score(item: Item, text: str, _: Passes | None) -> Scored:
    """Best token F1 over the accepted answers, and exact match, as in the evaluation of SQuAD.

    Parameters
    ----------
    item : the question, with its accepted answers.
    text : the generated answer.
    """
    f1 = max(token_f1(text, answer) for answer in item.accepted)
    exact = any(exact_match(text, answer) for answer in item.accepted)
    return Scored(exact or f1 >= F1_CORRECT, f1, exact)


def gsm8k_item(item: int, row: Mapping[str, Any]) -> Item:
    """A word problem, whose answer is the solution without its calculator annotations."""
    answer = f" {_CALCULATION.sub('', row['answer'])}"
    return Item(item, f"Question: {row['question']}\nAnswer:", answer, (answer,))


def gsm8k_score(item: Item, text: str, _: Passes | None) -> Scored:
    """Correct if the last number of the text is the result, which follows #### in the solution.

    Parameters
    ----------
    item : the question, with its solution.
    text : the generated answer.
    """
    exact = last_number(text) == last_number(item.answer.rpartition("####")[2])
    return Scored(exact, float(exact), exact)


def last_number(text: str) -> Decimal | None:
    """The last number of a text, with optional commas between thousands; None without one."""
    numbers = _NUMBER.findall(text)
    return Decimal(numbers[-1].replace(",", "")) if numbers else None


def humaneval_item(item: int, row: Mapping[str, Any]) -> Item:
    """A function to complete, with tests that call it."""
    answer = row["canonical_solution"]
    tests = f"{row['test']}\ncheck({row['entry_point']})\n"
    return Item(item, row["prompt"], answer, (answer,), tests)


def humaneval_score(item: Item, text: str, passes: Passes | None) -> Scored:
    """Correct if the program passes its tests; None if programs are not run.

    Parameters
    ----------
    item : the problem, with its tests.
    text : the generated program, which continues the prompt.
    passes : runs a program in the sandbox; None if programs are not run.
    """
    if passes is None:
        return Scored(None, None)
    passed = passes(f"{item.question}{text}", item.tests)
    return Scored(passed, float(passed))


SOURCES: Mapping[str, Source] = {
    "squad": Source(squad_item, ("\n",), squad_score),
    "gsm8k": Source(gsm8k_item, ("\nQuestion:", "\n\n"), gsm8k_score),
    "humaneval": Source(
        humaneval_item, ("\nclass", "\ndef", "\n#", "\nif", "\nprint"), humaneval_score
    ),
}
"""What a source's name in config means; HumanEval's ends are those of its authors."""


# --- items and candidates ---------------------------------------------------------------------


def draw_items(
    source: str, rows: Sequence[Mapping[str, Any]], n_items: int, seed: int
) -> list[Item]:
    """Items at random, in the order of their rows; no two accept the same answer.

    Parameters
    ----------
    source : name of the data set.
    rows : rows of the scored split.
    n_items : number of items to draw.
    seed : seed of the draw.

    Raises
    ------
    JobError
        if the rows lack a column, or hold fewer such items.
    """
    items: list[Item] = []
    taken: set[str] = set()
    for place in np.random.default_rng(seed).permutation(len(rows)).tolist():
        if len(items) == n_items:
            break
        item = _item(source, place, rows[place])
        if taken.isdisjoint(item.accepted):
            taken.update(item.accepted)
            items.append(item)
    if len(items) < n_items:
        raise JobError(
            f"matched_formats/sources/{source}/n_items is {n_items}, but its {len(rows)} rows have "
            f"{len(items)} different answers. Ask for fewer, or fetch more rows."
        )
    return sorted(items, key=lambda item: item.item)


def _item(source: str, index: int, row: Mapping[str, Any]) -> Item:
    try:
        return SOURCES[source].read(index, row)
    except KeyError as missing:
        raise JobError(
            f"matched_formats/sources/{source} needs the column {missing}, but its task's rows "
            f"have {', '.join(row)}. Name a task of that data set under `task`."
        ) from None


def draw_candidates(n_items: int, n_candidates: int, seed: int) -> list[list[int]]:
    """For each item, the items whose answers are its options: itself first, then others.

    Parameters
    ----------
    n_items : number of items.
    n_candidates : number of options per item, including the right answer.
    seed : seed of the draw.
    """
    return [
        [
            own,
            *np.random.default_rng([seed, own])
            .choice([other for other in range(n_items) if other != own], n_candidates - 1, False)
            .tolist(),
        ]
        for own in range(n_items)
    ]


# --- rows of table `matched_samples` ----------------------------------------------------------


def retrieval_rows(
    items: Sequence[Item], questions: NDArray[np.floating], answers: NDArray[np.floating]
) -> Iterator[dict[str, object]]:
    """Rank all answers for every question by cosine similarity of embeddings, a row per item.

    The mean of all questions and the mean of all answers are subtracted first, because hidden
    states share a large component that does not depend on the text (Mu and Viswanath, 2018).

    Parameters
    ----------
    items : the questions with their answers.
    questions, answers : embeddings of the questions and of the answers, (items, d) each.
    """
    similarities = _directions(questions) @ _directions(answers).T
    for own, item in enumerate(items):
        order = [own, *(other for other in range(len(items)) if other != own)]
        texts = [items[place].answer for place in order]
        yield _ranked(item, "retrieval", similarities[own, order], texts)


def _directions(embeddings: NDArray[np.floating]) -> NDArray[np.floating]:
    """Subtract the mean row and scale all rows to length 1; a row equal to the mean becomes 0."""
    centred: NDArray[np.floating] = embeddings - embeddings.mean(axis=0)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    centred /= np.where(lengths == 0, 1, lengths)
    return centred


def choice_rows(
    items: Sequence[Item], candidates: Sequence[Sequence[int]], log_p: Sequence[Sequence[float]]
) -> Iterator[dict[str, object]]:
    """Rank candidates by log-likelihood per byte.

    Parameters
    ----------
    items : all items of the source.
    candidates : from `draw_candidates`.
    log_p : log-likelihood of the text of each candidate, in nats.
    """
    for item, indices, likelihoods in zip(items, candidates, log_p, strict=True):
        texts = [items[index].answer for index in indices]
        per_byte = np.array(likelihoods) / [len(text.encode()) for text in texts]
        yield _ranked(item, "multiple_choice", per_byte, texts)


def generation_rows(
    source: str, items: Sequence[Item], texts: Sequence[str], passes: Passes | None
) -> Iterator[dict[str, object]]:
    """Score every generated text; if `passes` is None, no code is run.

    Parameters
    ----------
    source : name of the data set.
    items : the questions.
    texts : the generated answer to each question.
    passes : runs a program in the sandbox.
    """
    for item, text in zip(items, texts, strict=True):
        yield {
            "item": item.item,
            "format": "generation",
            **SOURCES[source].score(item, text, passes)._asdict(),
            "text": text,
        }


def _ranked(
    item: Item, format_: str, scores: NDArray[np.floating], texts: Sequence[str]
) -> dict[str, object]:
    """A row from the scores of the candidates, the correct one first; ties share a mean rank."""
    if not np.isfinite(scores).all():
        raise JobError(
            f"item {item.item}, {format_}: scores of its candidates are not finite. Set dtype: "
            "bfloat16 or float32 for the model: float16 overflows above 65504."
        )
    correct, others = scores[0], scores[1:]
    rank = 1 + float((others > correct).sum()) + float((others == correct).sum()) / 2
    return {
        "item": item.item,
        "format": format_,
        "correct": rank == 1,
        "score": 1 / rank,
        "rank": rank,
        "n_candidates": len(scores),
        "margin": float(correct - others.max()),
        "text": texts[int(scores.argmax())],
    }
