"""The jobs that keep a failed run from its result are named."""

from prunescope.workflow.unfinished import stopped_at

NEEDS = {
    "page": ["figure", "other"],
    "figure": ["trace", "scores"],
    "other": ["scores"],
    "trace": ["edit"],
    "scores": ["edit"],
    "edit": [],
}


def test_the_jobs_without_unfinished_inputs_are_named_once():
    unfinished = {"page", "figure", "other", "trace", "scores"}
    assert stopped_at("page", NEEDS.__getitem__, unfinished) == ["trace", "scores"]
    assert stopped_at("other", NEEDS.__getitem__, unfinished) == ["scores"]


def test_a_failed_job_is_named_itself():
    assert stopped_at("other", NEEDS.__getitem__, {"page", "other"}) == ["other"]
