"""A suite may join others; its tasks are theirs."""

import copy

import pytest
import yaml

from prunescope.paths import ROOT
from prunescope.workflow import experiment, suites

CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
LISTED = {"core": ["a", "b"], "full": ["c"], "broad": ["core", "full"]}


def resolved(**changed):
    return experiment.resolve({**copy.deepcopy(CONFIG), **changed}, ROOT)


def test_a_suite_of_suites_has_the_tasks_of_all():
    assert suites.written_out(LISTED) == {**LISTED, "broad": ["a", "b", "c"]}
    assert suites.parts(LISTED) == {"core": ["core"], "full": ["full"], "broad": ["core", "full"]}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"mixed": ["core", "piqa"]}, r"suites/mixed joins suites, but 'piqa' is none"),
        ({"all": ["broad"]}, r"suites/all: 'broad' itself joins suites"),
        ({"squad": ["arc_easy"]}, r"suites/squad: there is a task of this name"),
        ({"full": ["arc_easy"]}, r"suites/broad: task 'arc_easy' is in two of its suites"),
        ({"own": ["arc_esy"]}, r"suites/own: there is no task 'arc_esy'. Did you mean"),
    ],
)
def test_unclear_suites_are_refused(changed, message):
    with pytest.raises(experiment.ConfigError, match=message):
        resolved(suites={**CONFIG["suites"], **changed})


def test_a_suite_that_is_left_out_is_joined_no_longer():
    """The figures that show it alone go; Table 1 shows what is left."""
    config = resolved(without={"suites": ["full"]})
    assert config["suites"]["broad"] == ["core"]
    assert "tab01_task_scores" in config["figures"]
