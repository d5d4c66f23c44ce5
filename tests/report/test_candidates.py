"""Candidates are read from rows of the store as its tables declare them."""

import json
import math

import pytest

from prunescope.report import candidates

ROW = {
    "n_items": 100,
    "dense_score": 0.6,
    "score": 0.5,
    "chance": 0.25,
    "difference": -0.1,
    "difference_low": -0.2,
    "difference_high": 0.0,
    "dense_margin_low": None,
}
COST = {
    "bytes": 50,
    "bytes_dense": 200,
    "kv_cache_bytes_per_token": 3,
    "kv_cache_bytes_per_token_dense": 4,
    "decode_speedup": 1.5,
    "decode_speedup_low": 1.4,
    "decode_speedup_high": 1.6,
    "same_operations": False,
}
RUN = {"method": "wanda", "settings": json.dumps({"method": "wanda", "pattern": "2:4"})}


def removed(block, sublayer, yes=True):
    return {"block": block, "sublayer": sublayer, "removed": yes}


def test_each_kind_of_task_has_its_family():
    rows = [
        {**ROW, "scope": "family", "name": "generative", "score": 0.1},
        {**ROW, "scope": "family", "name": "non_generative", "score": 0.2},
        {**ROW, "scope": "contrast", "name": "non_generative minus generative", "score": None},
    ]
    for task, score in (("generation", 0.1), ("multiple-choice", 0.2)):
        assert candidates.candidate("v", rows, COST, RUN, [], task).loss.score == score


def test_retrieval_is_ndcg_at_10():
    rows = [
        {**ROW, "scope": "task", "name": "squad", "metric": metric, "score": score}
        for metric, score in (("recall_at_100", 0.9), ("ndcg_at_10", 0.4))
    ]
    assert candidates.candidate("v", rows, COST, RUN, [], "retrieval").loss.score == 0.4


def test_a_task_that_was_not_scored_is_refused():
    rows = [{**ROW, "scope": "family", "name": "generative"}]
    with pytest.raises(ValueError, match="no multiple-choice task was scored"):
        candidates.candidate("v", rows, COST, RUN, [], "multiple-choice")


def test_costs_are_shares_of_dense_and_a_margin_may_be_unknown():
    rows = [{**ROW, "scope": "family", "name": "generative"}]
    found = candidates.candidate("v", rows, COST, RUN, [], "generation")
    assert (found.cost.memory, found.cost.kv, found.cost.speed) == (0.25, 0.75, 1.5)
    assert math.isnan(found.loss.dense_margin_low)


def test_dropped_sublayers_are_named_and_other_methods_tell_their_settings():
    report = [removed(9, "attn"), removed(2, "attn"), removed(3, "attn", yes=False)]
    assert candidates.in_words(RUN, report) == "drop attention of blocks 2, 9"
    assert candidates.in_words(RUN, [removed(None, "mlp", yes=None)]) == "wanda, pattern 2:4"
