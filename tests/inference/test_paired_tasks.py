"""Items of dense are paired with those of a variant; what a guess scores; refusals."""

import math

import numpy as np
import pyarrow as pa
import pytest
import pytrec_eval

from prunescope import finite
from prunescope.inference import paired_tasks
from prunescope.progress import JobError


def scores(**changed):
    row = {"task": "t", "metric": "acc", "filter": "none", "headline": True, "family": "generative"}
    row |= {"n_shot": 2, "n_cut": 1}
    return pa.Table.from_pylist([row | {"higher_is_better": True, "score": 0.5} | changed])


def samples(outcomes, chance=0.25):
    return pa.Table.from_pylist(
        [
            {"task": "t", "subtask": "t", "item": item, "metric": "acc", "filter": "none"}
            | {"outcome": float(outcome), "chance": chance, "doc_hash": str(item)}
            | {"response": "right" if outcome else "wrong"}
            for item, outcome in enumerate(outcomes)
        ]
    )


def of_suite(dense_scores, dense_samples, variant_samples):
    """The tasks, if the variant's scores are as dense's."""
    return paired_tasks.of_suite(dense_scores, dense_scores, dense_samples, variant_samples)


def test_items_are_paired_by_themselves():
    """Rows in another order are the same items."""
    variant = samples([0, 1, 1, 0])
    variant = variant.take([2, 0, 3, 1])
    (task,) = of_suite(scores(), samples([1, 1, 0, 0]), variant)
    assert task.dense.tolist() == [1, 1, 0, 0]
    assert task.variant.tolist() == [0, 1, 1, 0]
    assert (task.metric, task.n_shot, task.n_cut) == ("acc", 2, 1)
    assert task.agreement == 0.5


def test_other_items_are_refused():
    with pytest.raises(JobError, match="not the same"):
        of_suite(scores(), samples([1, 1, 0, 0]), samples([1, 0]))


@pytest.mark.parametrize(
    ("changed", "chance"),
    [
        ({"headline": False}, 0.25),
        ({"higher_is_better": False}, 0.25),
        ({}, None),
        ({"score": 0.7}, 0.25),
    ],
    ids=["another metric", "less is better", "no chance", "no mean over items"],
)
def test_what_is_no_mean_over_items_is_left_out(changed, chance):
    rows = samples([1, 1, 0, 0], chance)
    assert of_suite(scores(**changed), rows, rows) == []


def test_a_single_item_is_no_sample():
    """No interval exists of one item: the task is left out, and others are compared."""
    one = samples([1])
    assert of_suite(scores(score=1.0), one, one) == []


def test_outcomes_beyond_a_share_are_left_out():
    """Limits of unseen changes hold for outcomes from 0 to 1, not for points of 100."""
    rows = samples([100, 0])
    assert of_suite(scores(score=50.0), rows, rows) == []


def test_an_outcome_that_is_no_number_is_an_error():
    with pytest.raises(finite.NotFinite, match="t: outcomes of items"):
        of_suite(scores(), samples([1, 0]), samples([1, float("nan")]))


def found(ndcg, query=None):
    """Rows of `retrieval_samples` of one set."""
    return pa.Table.from_pylist(
        [
            {"retrieval_set": "s", "query": f"q{place}", "ndcg_at_10": value, "recall_at_100": 1.0}
            | {"rank": 1.0, "best_score": 0.5, "n_cut": place % 2}
            for place, value in enumerate(ndcg)
        ]
    )


def test_queries_are_paired_by_each_metric():
    ndcg, recall = paired_tasks.of_retrieval(
        found([1.0, 0.5, 0.0]), found([0.5, 0.5, 0.5]).take([2, 0, 1]), lambda *_: 0.1
    )
    assert (ndcg.metric, recall.metric) == ("ndcg_at_10", "recall_at_100")
    assert ndcg.is_headline and not recall.is_headline
    assert (ndcg.dense.tolist(), ndcg.variant.tolist()) == ([1.0, 0.5, 0.0], [0.5, 0.5, 0.5])
    assert (ndcg.chance, ndcg.n_cut, ndcg.agreement) == (pytest.approx(0.1), 1, None)


def test_other_queries_are_refused():
    with pytest.raises(JobError, match="s: dense answered 2 items and the variant 3"):
        paired_tasks.of_retrieval(found([1.0, 0.5]), found([1.0, 0.5, 0.0]), lambda *_: 0.1)


@pytest.mark.parametrize(
    ("grades", "n_documents"),
    [([1], 30), ([1, 1, 1, 2], 30), ([2, 1, 0], 7), ([1] * 15, 300), ([0], 5)],
)
def test_chance_is_what_trec_eval_gives_random_rankings(grades, n_documents):
    """The mean over 4,000 random rankings, within four standard errors."""
    rng = np.random.default_rng(0)
    judged = {"q": {f"d{place}": grade for place, grade in enumerate(grades)}}
    evaluator = pytrec_eval.RelevanceEvaluator(judged, {"ndcg_cut.10", "recall.100"})
    drawn = [
        evaluator.evaluate(
            {"q": {f"d{d}": float(s) for d, s in enumerate(rng.permutation(n_documents))}}
        )["q"]
        for _ in range(4000)
    ]
    for ours, theirs in (("ndcg_at_10", "ndcg_cut_10"), ("recall_at_100", "recall_100")):
        values = np.array([each[theirs] for each in drawn])
        chance = paired_tasks.chance_of_ranking(grades, n_documents, ours)
        assert chance == pytest.approx(values.mean(), abs=4 * values.std() / 4000**0.5 + 1e-12)


def asked(correct, name="multiple_choice", n_candidates=4, source="squad"):
    """Rows of `matched_samples` of one source and format."""
    return [
        {"source": source, "item": item, "format": name, "correct": right, "score": score}
        | {"n_candidates": n_candidates, "text": f"answer {right}"}
        for item, (right, score) in enumerate(correct)
    ]


def test_a_format_is_a_family_of_sources():
    """Chance of four candidates: a quarter right, and (1 + 1/2 + 1/3 + 1/4) / 4 of 1/rank."""
    dense = pa.Table.from_pylist(asked([(True, 1.0), (False, 0.5), (True, 1.0)]))
    variant = pa.Table.from_pylist(asked([(True, 1.0), (True, 1.0), (False, 0.25)]))
    correct, score = paired_tasks.of_formats(dense, variant)
    assert (correct.family, correct.name, correct.is_headline) == ("multiple_choice", "squad", True)
    assert (correct.dense.tolist(), correct.variant.tolist()) == ([1, 0, 1], [1, 1, 0])
    assert correct.agreement == pytest.approx(1 / 3)
    assert score.variant.tolist() == [1.0, 1.0, 0.25]
    assert correct.chance == pytest.approx(0.25)
    assert score.chance == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)


def test_programs_that_were_not_run_are_no_items():
    rows = asked([(None, None)] * 2, "generation", None, "humaneval")
    rows += asked([(True, 0.8), (False, 0.1)], "generation", None)
    table = pa.Table.from_pylist(rows)
    tasks = paired_tasks.of_formats(table, table)
    assert [(task.name, task.metric) for task in tasks] == [
        ("squad", "correct"),
        ("squad", "score"),
    ]
    assert {task.chance for task in tasks} == {0.0}
    assert math.isclose(tasks[1].dense.mean(), 0.45)
