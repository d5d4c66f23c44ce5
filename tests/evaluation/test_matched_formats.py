"""The three formats ask the same questions, and scores equal those of the data sets' authors."""

import numpy as np
import pytest

from prunescope.evaluation import matched_formats
from prunescope.evaluation.matched_formats import SOURCES, Item
from prunescope.progress import JobError


def squad_row(number, answers):
    return {
        "title": "Rivers",
        "context": f"River {number} is long.",
        "question": f"How long is river {number}?",
        "answers": answers,
    }


SQUAD = [squad_row(n, [f"{n} miles", f"about {n} miles"]) for n in range(8)]
GSM8K = {
    "question": "What is 3 times 1,000?",
    "answer": "It is 3*1000=<<3*1000=3000>>3000.\n#### 3,000",
}
HUMANEVAL = {
    "prompt": "def total(numbers):\n",
    "canonical_solution": "    return sum(numbers)\n",
    "test": "def check(candidate):\n    assert candidate([1, 2]) == 3\n",
    "entry_point": "total",
}


def items(n=4):
    return [
        Item(place, f"question {place}", f" {place}" * (1 + place), (f" {place}",))
        for place in range(n)
    ]


def test_the_seed_determines_the_items_and_their_answers_differ():
    """The same seed gives the same items; of items with the same accepted answer, one is drawn."""
    twice = [*SQUAD, squad_row(99, ["none", "3 miles"])]
    drawn = [matched_formats.draw_items("squad", twice, 8, seed) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1]
    for chosen in drawn:
        assert [item.item for item in chosen] == sorted(item.item for item in chosen)
        accepted = [answer for item in chosen for answer in item.accepted]
        assert len(accepted) == len(set(accepted))
    few = [[i.item for i in matched_formats.draw_items("squad", SQUAD, 4, s)] for s in range(8)]
    assert len({tuple(places) for places in few}) > 1


def test_too_few_different_answers_are_refused():
    with pytest.raises(JobError, match="n_items is 9, but its 8 rows have 8 different answers"):
        matched_formats.draw_items("squad", SQUAD, 9, 0)


def test_a_missing_column_is_refused_by_name():
    with pytest.raises(JobError, match=r"sources/squad needs the column 'title', .* question, ans"):
        matched_formats.draw_items("squad", [GSM8K], 1, 0)


def test_candidates_are_the_right_answer_and_different_ones():
    candidates = matched_formats.draw_candidates(9, 4, seed=3)
    assert candidates == matched_formats.draw_candidates(9, 4, seed=3)
    assert candidates != matched_formats.draw_candidates(9, 4, seed=4)
    for own, places in enumerate(candidates):
        assert places[0] == own
        assert len(set(places)) == 4
    assert len({place for places in candidates for place in places[1:]}) == 9  # all distract


def test_question_and_answer_form_the_text_of_the_source():
    """The answer follows the question; calculator annotations are removed."""
    item = SOURCES["gsm8k"].read(0, GSM8K)
    said = f"Question: {GSM8K['question']}\nAnswer: It is 3*1000=3000.\n#### 3,000"
    assert item.question + item.answer == said
    code = SOURCES["humaneval"].read(0, HUMANEVAL)
    scope = {}
    exec(code.question + code.answer + code.tests, scope)
    assert scope["total"]([4, 5]) == 9


@pytest.mark.parametrize(
    ("text", "correct"),
    [
        (" 1000+1000+1000 = 3000", True),
        (" so #### 3,000.", True),
        (" 3000.00 dollars", True),
        (" 3000, or rather 30", False),
        (" -3000", False),
        (" many", False),
        ("", False),
    ],
)
def test_gsm8k_reads_the_last_number(text, correct):
    scored = SOURCES["gsm8k"].score(SOURCES["gsm8k"].read(0, GSM8K), text, None)
    assert scored == (correct, float(correct), correct)


@pytest.mark.parametrize(
    ("text", "f1", "exact", "correct"),
    [
        (" The 3 miles!", 1.0, True, True),
        (" about 3 miles long", 6 / 7, False, True),
        (" 3 or 4 or 5 or more of those", 2 / 11, False, False),
        (" 4 feet", 0.0, False, False),
    ],
)
def test_squad_scores_the_best_reference_answer(text, f1, exact, correct):
    """F1 = 2 · shared words / (words of the output + words of the answer), computed by hand."""
    scored = SOURCES["squad"].score(SOURCES["squad"].read(0, SQUAD[3]), text, None)
    assert scored.score == pytest.approx(f1)
    assert (scored.exact, scored.correct) == (exact, correct)


def test_programs_run_only_if_allowed():
    item = SOURCES["humaneval"].read(0, HUMANEVAL)
    score = SOURCES["humaneval"].score
    assert score(item, item.answer, None) == (None, None, None)
    ran = []

    def passes(program, tests):
        ran.append(tests)
        return "sum" in program

    assert score(item, item.answer, passes) == (True, 1.0, None)
    assert score(item, "    return 3\n", passes) == (False, 0.0, None)
    assert all(tests.endswith("check(total)\n") for tests in ran)


def test_retrieval_ignores_offsets_common_to_one_side():
    """With a common offset added to all questions or to all answers, each answer is still found."""
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.normal(size=(8, 8)))[0][:4]
    questions = directions + 100 * rng.normal(size=8)
    answers = 5 * directions + 300 * rng.normal(size=8)
    rows = list(matched_formats.retrieval_rows(items(), questions, answers))
    assert [row["correct"] for row in rows] == [True] * 4
    # centred orthonormal vectors: cosine 1 with oneself, -1/(n - 1) with each other
    assert [row["margin"] for row in rows] == pytest.approx([4 / 3] * 4)
    crossed = list(matched_formats.retrieval_rows(items(), questions, answers[[1, 0, 2, 3]]))
    assert [row["correct"] for row in crossed] == [False, False, True, True]
    assert crossed[0]["text"] == items()[1].answer


def test_choice_compares_log_likelihoods_per_byte():
    """A longer answer may have the lower sum and still be chosen; ties share their mean rank."""
    chosen = list(
        matched_formats.choice_rows(
            items(),
            [[3, 0], [0, 1], [0, 1], [1, 0]],
            [[-8.0, -4.0], [-2.0, -4.0], [-1.0, -9.0], [-9, -2]],
        )
    )
    assert [row["correct"] for row in chosen] == [True, False, True, False]
    assert [row["rank"] for row in chosen] == [1, 1.5, 1, 2]
    assert chosen[0]["margin"] == pytest.approx(-8 / 8 + 4 / 2)
    assert chosen[0]["text"] == items()[3].answer
    assert chosen[1]["score"] == pytest.approx(1 / 1.5)
