"""Scores of open answers equal the formulas published by their authors."""

import re
import string
from collections import Counter

import numpy as np
import pytest

from prunescope.evaluation.lm_eval_tasks import answer_scores

SAID = (
    "The answer is: 23 years",
    "23 years",
    "an old, old lighthouse!",
    "",
    "the",
    "a loner and outsider student",
    "naïve café's — 1,921",
)


# ---- evaluate-v1.1.py of SQuAD, as published ----


def normalize_answer(s):
    def remove_articles(text):
        return re.sub(r"\b(a|an|the)\b", " ", text)

    def white_space_fix(text):
        return " ".join(text.split())

    def remove_punc(text):
        exclude = set(string.punctuation)
        return "".join(ch for ch in text if ch not in exclude)

    return white_space_fix(remove_articles(remove_punc(s.lower())))


def f1_score(prediction, ground_truth):
    prediction_tokens = normalize_answer(prediction).split()
    ground_truth_tokens = normalize_answer(ground_truth).split()
    common = Counter(prediction_tokens) & Counter(ground_truth_tokens)
    num_same = sum(common.values())
    if num_same == 0:
        return 0
    precision = 1.0 * num_same / len(prediction_tokens)
    recall = 1.0 * num_same / len(ground_truth_tokens)
    return (2 * precision * recall) / (precision + recall)


# ---- Lin (2004), Eq. 2 to 4 with β = 1, straight from the text ----


def lcs(x, y):
    table = np.zeros((len(x) + 1, len(y) + 1), int)
    for i, a in enumerate(x):
        for j, b in enumerate(y):
            best = max(table[i, j + 1], table[i + 1, j])
            table[i + 1, j + 1] = table[i, j] + 1 if a == b else best
    return table[-1, -1]


def lin_rouge_l(said, answer):
    x, y = (re.findall(r"[a-z0-9]+", text.lower()) for text in (answer, said))
    shared = lcs(x, y)
    if not shared:
        return 0.0
    recall, precision = shared / len(x), shared / len(y)
    return 2 * recall * precision / (recall + precision)


@pytest.mark.parametrize("said", SAID)
@pytest.mark.parametrize("answer", SAID)
def test_scores_equal_the_published_formulas(said, answer):
    assert answer_scores.token_f1(said, answer) == pytest.approx(f1_score(said, answer))
    same = normalize_answer(said) == normalize_answer(answer)
    assert answer_scores.exact_match(said, answer) == same
    assert answer_scores.rouge_l(said, answer) == pytest.approx(lin_rouge_l(said, answer))


def test_the_best_reference_answer_counts():
    doc = {"answers": ["somebody else", "23 years", "23"]}
    assert answer_scores.squad(doc, ["23"]) == {"f1": 1.0, "exact_match": 1.0}
    scores = answer_scores.narrativeqa(doc, ["for 23 years"])
    assert scores["f1"] == pytest.approx(0.8)
    assert scores["rouge_l"] == pytest.approx(0.8)
