"""The same items in three formats: what is asked stays, the form of the answer varies.

A question of SQuAD, GSM8K or HumanEval is asked as retrieval (its answer among all answers of the
set), as multiple choice (its answer among a few of them, by log-likelihood) and as generation. The
model reads the same words in all three. Scores of tensors and texts only: no model here.
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
"""Closes question and answer alike before their last hidden state is read as an embedding, after
PromptEOL (Jiang et al., 2023): without it the last word decides, and retrieval is near chance."""

F1_CORRECT = 0.5
"""Token F1 from which an open answer counts as correct."""

_SOLVED = """Title: Lighthouse
Background: The old lighthouse of Harbour Point was built in 1874 by Ada Holm.
Question: Who built the lighthouse?
Answer: Ada Holm

"""
"""Shows that a few words of the text are enough; a second one helps SmolLM2 no further."""

_CALCULATION = re.compile(r"<<[^>]*>>")
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


@dataclass(frozen=True)
class Item:
    """One question and its answer.

    Attributes
    ----------
    item : place among the rows of the split, counted from 0.
    question : what the model reads, in every format.
    answer : the text that should follow it, first blank included.
    accepted : every answer that is as good, `answer` among them.
    tests : of a program: code that raises an error where it is wrong.
    """

    item: int
    question: str
    answer: str
    accepted: tuple[str, ...]
    tests: str = field(default="", repr=False)


class Scored(NamedTuple):
    """What a generated text is worth; None where code was not run, or nothing compared."""

    correct: bool | None
    score: float | None
    exact: bool | None = None


Passes = Callable[[str, str], bool]
"""Runs the tests (second) of a program (first); True where they end without an error."""


class Source(NamedTuple):
    """How one data set's rows become items, where its answers end, and what they are worth."""

    read: Callable[[int, Mapping[str, Any]], Item]
    ends: tuple[str, ...]
    score: Callable[[Item, str, Passes | None], Scored]


# --- sources ----------------------------------------------------------------------------------


def squad_item(item: int, row: Mapping[str, Any]) -> Item:
    """A question about a paragraph, after a solved one; columns of fetch_task's format `squad`."""
    about = f"Title: {row['title']}\nBackground: {row['context']}\n"
    question = f"{_SOLVED}{about}Question: {row['question']}\nAnswer:"
    answers = tuple(f" {answer}" for answer in row["answers"])
    return Item(item, question, answers[0], answers)


def squad_score(item: Item, text: str, _: Passes | None) -> Scored:
    """Token F1, the best over the accepted answers, and exact match, as SQuAD's authors count."""
    f1 = max(token_f1(text, answer) for answer in item.accepted)
    exact = any(exact_match(text, answer) for answer in item.accepted)
    return Scored(exact or f1 >= F1_CORRECT, f1, exact)


def gsm8k_item(item: int, row: Mapping[str, Any]) -> Item:
    """A word problem; its answer is the worked solution, without the marks of a calculator."""
    answer = f" {_CALCULATION.sub('', row['answer'])}"
    return Item(item, f"Question: {row['question']}\nAnswer:", answer, (answer,))


def gsm8k_score(item: Item, text: str, _: Passes | None) -> Scored:
    """Exact: the last number of the text is that of the solution, which stands after ####."""
    exact = last_number(text) == last_number(item.answer.rpartition("####")[2])
    return Scored(exact, float(exact), exact)


def last_number(text: str) -> Decimal | None:
    """The last number of a text, thousands separated by commas; None without one."""
    found = _NUMBER.findall(text)
    return Decimal(found[-1].replace(",", "")) if found else None


def humaneval_item(item: int, row: Mapping[str, Any]) -> Item:
    """A function to be finished; the tests call it by its name."""
    answer = row["canonical_solution"]
    tests = f"{row['test']}\ncheck({row['entry_point']})\n"
    return Item(item, row["prompt"], answer, (answer,), tests)


def humaneval_score(item: Item, text: str, passes: Passes | None) -> Scored:
    """Does the program pass its tests? None where it may not be run."""
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


def _item(source: str, place: int, row: Mapping[str, Any]) -> Item:
    try:
        return SOURCES[source].read(place, row)
    except KeyError as missing:
        raise JobError(
            f"matched_formats/sources/{source} needs the column {missing}, but its task's rows "
            f"have {', '.join(row)}. Name a task of that data set under `task`."
        ) from None


def draw_candidates(n_items: int, n_candidates: int, seed: int) -> list[list[int]]:
    """For each item the items whose answers it may choose from: itself first, then others."""
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
    """Every answer ranked for every question by cosine; embeddings are (items, d) each.

    Questions and answers are centred first, each on their own mean: hidden states share a large
    component that says nothing about what they read (Mu and Viswanath, 2018).
    """
    similarities = _directions(questions) @ _directions(answers).T
    for own, item in enumerate(items):
        order = [own, *(other for other in range(len(items)) if other != own)]
        texts = [items[place].answer for place in order]
        yield _ranked(item, "retrieval", similarities[own, order], texts)


def _directions(embeddings: NDArray[np.floating]) -> NDArray[np.floating]:
    """Rows of length 1 after their mean is taken off; a row that is the mean stays 0."""
    centred: NDArray[np.floating] = embeddings - embeddings.mean(axis=0)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    centred /= np.where(lengths == 0, 1, lengths)
    return centred


def choice_rows(
    items: Sequence[Item], candidates: Sequence[Sequence[int]], log_p: Sequence[Sequence[float]]
) -> Iterator[dict[str, object]]:
    """Candidates ranked by log-likelihood a byte, as lm-eval's acc_norm does.

    Parameters
    ----------
    candidates : as draw_candidates gives them. log_p : of each candidate's text, in nats.
    """
    for item, places, likelihoods in zip(items, candidates, log_p, strict=True):
        texts = [items[place].answer for place in places]
        a_byte = np.array(likelihoods) / [len(text.encode()) for text in texts]
        yield _ranked(item, "multiple_choice", a_byte, texts)


def generation_rows(
    source: str, items: Sequence[Item], texts: Sequence[str], passes: Passes | None
) -> Iterator[dict[str, object]]:
    """What each generated text is worth; `passes` None: code is not run."""
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
    """One row from the candidates' scores, the right one's first; ties share their mean rank."""
    if not np.isfinite(scores).all():
        raise JobError(
            f"item {item.item}, {format_}: scores of its candidates are not finite. Set dtype: "
            "bfloat16 or float32 for the model: float16 overflows above 65504."
        )
    right, others = scores[0], scores[1:]
    rank = 1 + float((others > right).sum()) + float((others == right).sum()) / 2
    return {
        "item": item.item,
        "format": format_,
        "correct": rank == 1,
        "score": 1 / rank,
        "rank": rank,
        "n_candidates": len(scores),
        "margin": float(right - others.max()),
        "text": texts[int(scores.argmax())],
    }
