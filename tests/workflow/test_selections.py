"""What a variant's parts are chosen on is never what it is judged on; impossible choices fail."""

import copy

import pytest
import yaml

from planned import Planned
from prunescope.compression import selections
from prunescope.compression.selections import Selection
from prunescope.paths import ROOT
from prunescope.workflow import experiment

CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
PROMPT = CONFIG["prompts"]["sum-1"]
KL = {"method": "sublayer_drop", "sublayer": "mlp", "n_drop": 2, "criterion": "output_kl"}


def refused(match, *, prompts=None, variants=None, reads=None):
    """Config with these entries more is refused with such a message."""
    config = copy.deepcopy(CONFIG)
    if prompts is not None:
        config["selection_prompts"] = prompts
    config["variants"].update(variants or {})
    config["figures"]["ext_influence"]["reads"].update(reads or {})
    with pytest.raises(experiment.ConfigError, match=match):
        experiment.resolve(config, ROOT)


def words(text):
    return {word.strip(".,:?)").lower() for word in text.split()}


def test_prompts_of_the_repository_that_choose_are_other_than_those_that_judge():
    """A dozen, of each kind as many as there; no two share two thirds of their words."""
    choosing, judging = CONFIG["selection_prompts"], CONFIG["prompts"]
    assert not set(choosing) & set(judging)
    kinds = [sorted(entry["kind"] for entry in each.values()) for each in (choosing, judging)]
    assert kinds[0] == kinds[1]
    assert len(choosing) >= 12
    texts = [words(entry["text"]) for entry in judging.values()]
    for entry in choosing.values():
        own = words(entry["text"])
        assert all(len(own & other) / len(own | other) < 2 / 3 for other in texts)


@pytest.mark.parametrize(
    "prompts",
    [
        pytest.param({"sum-1": {**PROMPT, "text": "How much is 2 and 3?"}}, id="the same name"),
        pytest.param({"other": PROMPT}, id="the same text"),
        pytest.param({"x": {**PROMPT, "text": PROMPT["text"].upper()}}, id="in capitals"),
        pytest.param({"x": {**PROMPT, "text": PROMPT["text"].replace(" ", "\n ")}}, id="spaced"),
        pytest.param({"x": {**PROMPT, "text": PROMPT["text"].strip("?")}}, id="without its mark"),
    ],
)
def test_a_prompt_that_judges_cannot_choose(prompts):
    refused(r"selection_prompts/.*judged on it as prompts/sum-1", prompts=prompts)


def test_own_answers_need_prompts():
    refused(
        r"variants/chosen/text is own_answers, but there are no selection_prompts",
        prompts={},
        variants={"chosen": {**KL, "text": "own_answers"}},
    )


def test_an_encoder_has_no_output_to_choose_by():
    refused(
        r"variants/chosen: all-minilm-l6-v2 is of kind encoder",
        variants={"chosen": KL},
        reads={"compression_report": {"model": ["all-minilm-l6-v2"], "variant": ["chosen"]}},
    )


def test_a_figure_that_reads_scores_of_removals_names_selections():
    refused(r"reads/removal_score lacks `selection`", reads={"removal_score": {}})
    refused(
        r"there is no selection 'output_kl-\*'",
        reads={"removal_score": {"selection": ["output_kl-*"]}},
    )


def test_the_study_of_criteria_can_be_run_and_stays_out_of_the_report():
    """Its figure reads the published choice of four MLPs beside the others."""
    for size in ("sizes/default.yaml", "sizes/full.yaml"):
        assert "ext_criteria" not in Planned(ROOT, size).figures
        reads = Planned(ROOT, size, "studies/criteria.yaml").figures["ext_criteria"]["reads"]
        variants = reads["score_difference"]["variant"]
        assert {"drop-4m", "drop-4m-kl", "drop-4m-var", "drop-4m-kl-greedy"} <= set(variants)


def test_unknown_criteria_texts_and_searches_are_refused():
    for key in ("criterion", "text", "search"):
        refused(f"variants/chosen/{key}", variants={"chosen": {**KL, key: "best"}})


def test_the_published_choice_needs_no_search():
    """Whether its settings are written out or left out."""
    settings = {"method": "sublayer_drop", "sublayer": "attn", "n_drop": 2}
    assert selections.of_variant(settings) is None
    written_out = dict(zip(("criterion", "text", "search"), selections.PUBLISHED, strict=True))
    assert selections.of_variant({**settings, **written_out}) is None
    assert selections.of_variant({"method": "wanda", "sparsity": 0.5}) is None


def test_variants_of_several_sizes_share_a_search_of_the_largest():
    variants = {f"drop-{n}": {**KL, "n_drop": n, "search": "greedy"} for n in (2, 12, 4)}
    others = {"block": {"method": "block_drop", "n_drop": "all", "text": "prompts"}}
    name = "output_kl-calibration-greedy-mlp"
    assert selections.sizes({**variants, **others}) == {
        name: 12,
        "cosine-prompts-one_shot-block": "all",
    }
    assert selections.named(name) == Selection("output_kl", "calibration", "greedy", "mlp")
    assert selections.named(name).name == name
