"""A model that is named on the command line is planned from its config.json alone."""

import copy
import json
from fractions import Fraction
from pathlib import Path

import pytest
import yaml
from huggingface_hub import errors
from snakemake.utils import update_config

from prunescope.inputs import hub
from prunescope.machine import processor
from prunescope.paths import ROOT
from prunescope.workflow import depth, experiment, own_model, run
from tiny import make_tiny_model

CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
COMMIT = "1" * 40


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of models of 6, 18 and 36 blocks, a GPT-2 and an encoder, by name."""
    folder = tmp_path_factory.mktemp("some models")
    return {
        "six": make_tiny_model(
            folder / "My Six (v1)", num_hidden_layers=6, max_position_embeddings=400
        ),
        "eighteen": make_tiny_model(folder / "eighteen", "qwen2", num_hidden_layers=18),
        "deep": make_tiny_model(folder / "deep", "qwen3", num_hidden_layers=36),
        "gpt2": make_tiny_model(folder / "gpt2", "gpt2"),
        "bert": make_tiny_model(folder / "bert", "bert"),
    }


@pytest.fixture
def plan(tmp_path):
    """A function from keys of config to the plan, in a store of this test."""

    def planned(**keys):
        config = copy.deepcopy(CONFIG)
        config["pathvars"]["store"] = str(tmp_path / "store")
        return experiment.resolve_with_notes({**config, **keys}, ROOT)

    return planned


def read_models(config):
    return {m for figure in config["figures"].values() for m in figure["models"]}


def dropped(config, kind):
    """Numbers of attention sublayers, MLPs or blocks that variants of the experiment drop."""
    entries = config["variants"].values()
    methods = {"block": "block_drop"}.get(kind, "sublayer_drop")
    return [
        e["n_drop"]
        for e in entries
        if e["method"] == methods and e.get("sublayer", "block") == kind and e["n_drop"] != "all"
    ]


@pytest.mark.parametrize(
    ("model", "name", "n_drops", "middle", "quarter"),
    [
        ("six", "my-six-v1", [1, 2], 2, "drop-2a"),
        ("eighteen", "eighteen", [1, 2, 5], 8, "drop-5a"),
        ("deep", "deep", [1, 2, 5, 9], 17, "drop-9a"),
    ],
)
def test_a_folder_is_planned_from_its_config(models, plan, model, name, n_drops, middle, quarter):
    config, notes = plan(model=str(models[model]))
    assert config["default_model"] == name
    assert read_models(config) == {name}
    assert config["pathvars"]["results"] == f"results/{name}"
    assert set(config["figures"]) == set(CONFIG["figures"])
    for kind in ("attn", "mlp", "block"):
        assert dropped(config, kind) == n_drops
    assert config["figures"]["fig06_theory_block14"]["settings"]["block"] == middle
    assert config["figures"]["fig08_option_subspace"]["reads"]["top_token"]["variant"] == [quarter]
    for variant in ("rtn-4bit", "awq-4bit"):  # of 24 and 40 inputs
        assert config["variants"][variant]["group_size"] == 8
    assert config["models"][name]["dtype"] == "float32"
    assert any(name in note for note in notes)


def test_calibration_is_no_longer_than_the_model_reads(models, plan):
    """But a length that the user has set is refused."""
    config, notes = plan(model=str(models["six"]))
    assert config["calibration"]["sequence_length"] == 400
    assert "400 tokens" in " ".join(notes)
    calibration = {**CONFIG["calibration"], "sequence_length": 500}
    with pytest.raises(experiment.ConfigError, match="500, but my-six-v1 has 400 positions"):
        plan(model=str(models["six"]), calibration=calibration)


def test_group_sizes_of_the_user_are_refused_and_not_changed(models, plan):
    mine = {"rtn-4bit": {"method": "rtn", "bits": 4, "group_size": 16}}
    with pytest.raises(experiment.ConfigError, match=r"group_size is 16, .*divides 8"):
        plan(model=str(models["six"]), variants={**CONFIG["variants"], **mine})


def test_weights_outside_of_linears_leave_drops(models, plan):
    config, notes = plan(model=str(models["gpt2"]))
    methods = {
        config["variants"][v]["method"]
        for figure in config["figures"].values()
        for keys in figure["reads"].values()
        for v in keys.get("variant", [])
    }
    assert methods == {"identity", "sublayer_drop", "block_drop"}
    assert "fig09_sparsegpt_scores" not in config["figures"]
    assert any("gpt2 keeps weights" in note and "wanda-50" in note for note in notes)


def test_an_encoder_gets_the_figures_that_it_can_have(models, plan):
    config, _ = plan(model=str(models["bert"]))
    assert set(config["figures"]) == {
        "ext_model_check",
        "ext_influence",
        "ext_output_error",
        "ext_retrieval_scores",
    }
    assert config["models"]["bert"]["kind"] == "encoder"
    assert config["models"]["bert"]["embedding"]["pooling"] == "mean"


def test_the_pooling_of_sentence_transformers_is_read(models, plan, tmp_path):
    folder = make_tiny_model(tmp_path / "pooled", "bert")
    file = folder / "1_Pooling" / "config.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"pooling_mode_lasttoken": True, "pooling_mode_mean_tokens": False}))
    assert plan(model=str(folder))[0]["models"]["pooled"]["embedding"]["pooling"] == "last_token"
    file.write_text(json.dumps({"pooling_mode_cls_token": True}))
    with pytest.raises(experiment.ConfigError, match=r"it pools by cls_token .* mean and"):
        plan(model=str(folder))


def test_other_models_join_if_they_are_named(models, plan):
    config, _ = plan(model=str(models["six"]), also=["all-minilm-l6-v2"])
    assert config["figures"]["fig06_theory_block14"]["models"] == ["my-six-v1"]
    assert config["figures"]["ext_retrieval_scores"]["models"] == ["all-minilm-l6-v2", "my-six-v1"]
    with pytest.raises(experiment.ConfigError, match="also: there is no model 'minilm'"):
        plan(model=str(models["six"]), also=["minilm"])


def test_two_models_of_one_name_do_not_share_a_store(models, plan, tmp_path):
    other = make_tiny_model(tmp_path / "elsewhere" / "deep", num_hidden_layers=4)
    plan(model=str(models["deep"]))
    with pytest.raises(experiment.ConfigError, match=r"holds results of .*/deep, .* NAME="):
        plan(model=str(other))
    config, _ = plan(model=str(other), model_name="other")
    assert config["default_model"] == "other"
    assert plan(model=str(models["deep"]))[0]["default_model"] == "deep"


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "3"])
def test_a_damaged_record_of_the_model_is_refused_in_one_line(models, plan, content):
    config, _ = plan(model=str(models["six"]))
    (Path(config["pathvars"]["store"]) / ".model.json").write_text(content, encoding="utf-8")
    with pytest.raises(experiment.ConfigError, match=r"model.json, .* is damaged. .* NAME="):
        plan(model=str(models["six"]))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("./nowhere", r"there is no folder or file /.*/nowhere"),
        ("smollm2-135m-instrukt", "Did you mean 'smollm2-135m-instruct'"),
        (7, "model is 7; .* Quote it"),
        (["a"], "model is"),
        ("", "model is ''"),
    ],
)
def test_what_is_no_model_is_refused_in_one_line(plan, asked, message):
    with pytest.raises(experiment.ConfigError, match=message) as refused:
        plan(model=asked)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "rwkv"}, "model type 'rwkv' is not known"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantized already .*gptq"),
    ],
)
def test_a_model_that_cannot_run_is_refused_in_one_line(plan, tmp_path, change, message):
    folder = make_tiny_model(tmp_path / "model")
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(experiment.ConfigError, match=message):
        plan(model=str(folder))


def test_an_adapter_is_refused(plan, tmp_path):
    folder = make_tiny_model(tmp_path / "model")
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(experiment.ConfigError, match="it is an adapter"):
        plan(model=str(folder))


class _Found:
    sha = COMMIT
    siblings = ()


def test_a_hub_id_is_pinned_once(plan, models, tmp_path, monkeypatch):
    """Later runs, also without a network, use the recorded commit."""
    snapshot = tmp_path / "hub" / "models--owner--Name-X" / "snapshots" / COMMIT
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to(models["eighteen"], target_is_directory=True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    asked = []

    def model_info(self, model_id, revision, timeout):
        asked.append((model_id, revision))
        return _Found

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", model_info)
    for _ in range(2):
        config, _ = plan(model="owner/Name-X")
        source = config["models"]["name-x"]["source"]
        assert source == {"from": "hub", "id": "owner/Name-X", "revision": COMMIT}
    assert asked == [("owner/Name-X", "main")]


def test_a_hub_id_without_network_is_refused_in_one_line(plan, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))

    def unreachable(*_args, **_options):
        raise ConnectionError("no route to host")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", unreachable)
    with pytest.raises(experiment.ConfigError, match=r"no folder owner/name.* cannot be reached"):
        plan(model="owner/name")


def test_a_commit_of_the_cache_stands_in_for_the_network(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(
        "huggingface_hub.HfApi.model_info",
        lambda *_args, **_options: (_ for _ in ()).throw(errors.OfflineModeIsEnabled("offline")),
    )
    reference = tmp_path / "models--owner--name" / "refs" / "main"
    reference.parent.mkdir(parents=True)
    reference.write_text(COMMIT)
    assert hub.pin("owner/name", "main") == COMMIT


def test_the_number_type_of_the_first_run_stays(models, plan, monkeypatch):
    """Also on another machine: results of two types would be mixed in one store."""
    folder = make_tiny_model(models["six"].parent / "typed", dtype="bfloat16")
    monkeypatch.setattr(processor, "has_gpu", lambda: True)
    assert plan(model=str(folder))[0]["models"]["typed"]["dtype"] == "bfloat16"
    monkeypatch.setattr(processor, "has_gpu", lambda: False)
    assert plan(model=str(folder))[0]["models"]["typed"]["dtype"] == "bfloat16"


def test_bfloat16_is_for_processors_that_multiply_it(tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text("flags : fpu avx512f avx512_bf16 amx_bf16 amx_tile\n")
    assert processor.computes_bfloat16(file)
    file.write_text("flags : fpu avx512f\n")
    assert not processor.computes_bfloat16(file)


def test_names_are_names_of_folders():
    assert own_model._name_of(None, "/models/Ünï cöde 7B/") == "n-c-de-7b"
    assert own_model._name_of(None, "a/model.Q4_1.GGUF") == "model.q4_1"
    assert own_model._name_of(None, "owner/Name@main") == "name"
    assert own_model._name_of(None, "/models/inputs") == "inputs-model"


@pytest.mark.parametrize("n_blocks", [1, 2, 3, 6, 12, 18, 24, 28, 30, 36, 80])
def test_shares_of_a_depth_are_the_nearest_numbers(n_blocks):
    """At least one, and never all for a share of up to a half of at least two blocks."""
    for share in map(Fraction, ("1/32", "1/16", "1/8", "1/4", "1/2")):
        number = depth.number_of(share, n_blocks)
        assert number == 1 or abs(number - share * n_blocks) <= Fraction(1, 2)
        assert 1 <= number <= max(1, n_blocks // 2 + 1)
    assert 0 <= depth.middle_of(n_blocks) < n_blocks
    assert abs(2 * depth.middle_of(n_blocks) + 1 - n_blocks) <= 1


def test_a_share_in_a_selection_is_the_nearest_variant():
    names = ["dense", "drop-2a", "drop-6a", "drop-12a", "drop-4m"]
    assert depth.with_names(["drop-{1/4}a", "drop-*m"], names, 16) == ["drop-6a", "drop-*m"]
    assert depth.with_names(["drop-{1/2}a"], names, 18) == ["drop-12a"]  # 9 is as near to 6
    assert depth.with_names(["drop-{1/4}b"], names, 16) == ["drop-{1/4}b"]  # refused later


def test_a_depth_that_is_not_known_is_asked_for():
    entry = {
        "source": {"from": "hub", "id": "owner/name", "revision": COMMIT},
        "dtype": "float32",
    }
    config = {**CONFIG, "models": {**CONFIG["models"], "m": entry}, "default_model": "m"}
    with pytest.raises(experiment.ConfigError, match=r"depends on the depth of m.* models/m/n_blo"):
        experiment.resolve(config, ROOT)


def test_wishes_of_make_are_quoted():
    """A number, a path with blanks and quotes, and a target stay what they are."""
    wishes = {"MODEL": "1e5", "FIGURES": "fig04, fig06", "CONFIG": "'my file.yaml' b.yaml"}
    assert run.arguments(wishes, ["export"]) == [
        *("--cores", "all", "--configfile", "my file.yaml", "b.yaml"),
        *("--config", 'model="1e5"', 'only_figures=["fig04", "fig06"]', "--", "export"),
    ]
    assert yaml.load(run.arguments({"MODEL": "a: 'b' #1"}, [])[-1][6:], yaml.BaseLoader) == (
        "a: 'b' #1"
    )


@pytest.mark.parametrize("size", ["quick", "default", "full"])
@pytest.mark.parametrize("model", [None, "six", "deep"])
def test_every_size_fits_every_depth(models, tmp_path, size, model):
    """An overlay between config.yaml and the command line, in folders of its own."""
    config = copy.deepcopy(CONFIG)
    update_config(config, yaml.safe_load((ROOT / "sizes" / f"{size}.yaml").read_text()))
    config["pathvars"]["store"] = str(tmp_path / "store")
    if model:
        config["model"] = str(models[model])
    planned = experiment.resolve(config, ROOT)
    assert planned["size"] == size
    read = {
        variant
        for figure in planned["figures"].values()
        for keys in figure["reads"].values()
        for variant in keys.get("variant", [])
    }
    if size == "quick":
        assert len(read - {"drop-each"}) == 4
        assert {"fig01_inter_layer_scores", "fig04_sublayer_similarity"} <= set(planned["figures"])
    if size == "full":
        scored = {task for suite in ("core", "full") for task in planned["suites"][suite]}
        assert {planned["tasks"][task]["limit"] for task in scored} == {"all"}
