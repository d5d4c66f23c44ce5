"""Config is expanded into plain names, or refused with the key and a remedy before any job."""

import copy
import functools
import json
import operator
import re
import shutil
from pathlib import Path
from typing import get_args

import pytest
import yaml
from snakemake.common.configfile import load_configfile
from snakemake.utils import update_config

from prunescope.compression import methods
from prunescope.model import loading
from prunescope.paths import ROOT
from prunescope.report import parsed_sql
from prunescope.workflow import experiment, json_schema, sweeps
from prunescope.workflow.config import Compression, FigureSettings, Model
from tiny import make_tiny_model

CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
MODEL = CONFIG["default_model"]
READS = "figures/ext_influence/reads"
REPORT = f"{READS}/compression_report"
FIG10 = "figures/fig10_inter_layer_scores_by_model/settings"
FIG06 = "figures/fig06_theory_block14/settings"
ENTRY = CONFIG["models"][MODEL]
HUB = {"from": "hub", "id": "owner/name", "revision": "0" * 40}


def drop(n_drop, sublayer="any"):
    return {"method": "sublayer_drop", "sublayer": sublayer, "n_drop": n_drop}


def drop_blocks(n_drop):
    return {"method": "block_drop", "n_drop": n_drop}


def reads_suite(suite):
    return {"variant": ["dense"], "suite": [suite]}


def task_split(split, **more):
    return {"split": split, "source": HUB, **more}


def changed(*changes):
    """config.yaml with values put at slash-separated keys, folders made on the way."""
    config = copy.deepcopy(CONFIG)
    for key, value in changes:
        *folders, last = key.split("/")
        section = config
        for folder in folders:
            section = section.setdefault(folder, {})
        section[last] = value
    return config


def resolved(*changes):
    return experiment.resolve(changed(*changes), ROOT)


def test_config_of_the_repository_is_accepted():
    """Each figure names its models and variants; resolving the result again changes nothing."""
    config = resolved()
    assert config["figures"]["fig04_sublayer_similarity"] == {
        "reads": {
            "sublayer_trace": {"model": [MODEL], "readout": ["lm_head"], "variant": ["drop-each"]},
            "noise_floor": {"model": [MODEL]},  # findings of traces need it
        },
        "models": [MODEL],
    }
    assert experiment.resolve(config, ROOT) == config


def test_a_sweep_is_one_variant_per_value():
    """Names contain the values of the list, in order, and the template is removed."""
    sweep = drop_blocks([3, 1])
    variants = sweeps.expanded({"dense": {"method": "identity"}, "drop-{n_drop}b": sweep})
    assert list(variants) == ["dense", "drop-3b", "drop-1b"]
    assert variants["drop-3b"] == drop_blocks(3)


def test_sweeps_over_two_settings_give_every_pair():
    sweep = {"method": "x", "n": [1, 2], "m": [4, 8]}
    assert list(sweeps.expanded({"x-{n}of{m}": sweep})) == [
        "x-1of4",
        "x-1of8",
        "x-2of4",
        "x-2of8",
    ]


def test_patterns_become_names_in_the_order_of_config():
    config = resolved((f"{REPORT}/variant", ["drop-*b", "d*e"]))
    names = config["figures"]["ext_influence"]["reads"]["compression_report"]["variant"]
    assert names == ["drop-1b", "drop-2b", "drop-4b", "drop-8b", "dense"]


def test_models_can_be_patterns():
    other = {"source": HUB, "n_blocks": 30, "dtype": "float32"}
    config = resolved(("models/other", other), ("figures/ext_influence/models", ["smol*", "ot*"]))
    assert config["figures"]["ext_influence"]["models"] == [MODEL, "other"]


def test_a_table_can_be_read_for_other_models():
    """Others are read for those of the figure; a model must support only what is read."""
    reads = {"influence": {}, "retrieval_scores": {"model": ["all-*"], "variant": ["drop-2a"]}}
    config = resolved((READS, {**reads, "compression_run": {"variant": ["drop-8a", "wanda-50"]}}))
    entry = config["figures"]["ext_influence"]
    assert entry["reads"]["influence"] == {"model": [MODEL]}
    assert entry["reads"]["retrieval_scores"]["model"] == ["all-minilm-l6-v2"]
    assert entry["models"] == [MODEL, "all-minilm-l6-v2"]
    alone = {"retrieval_scores": reads["retrieval_scores"]}
    assert resolved((READS, alone))["figures"]["ext_influence"]["models"] == ["all-minilm-l6-v2"]


def test_exports_are_variants_of_the_default_model():
    assert resolved(("export", {"variant": ["drop-[12]b"]}))["export"] == {
        "model": [MODEL],
        "variant": ["drop-1b", "drop-2b"],
    }
    assert "export" not in resolved()


def test_suites_of_a_figure_must_exist():
    entry = resolved((f"{READS}/task_scores", {"variant": ["drop-8*"], "suite": ["c*", "full"]}))
    assert entry["figures"]["ext_influence"]["reads"]["task_scores"] == {
        "model": [MODEL],
        "variant": ["drop-8a", "drop-8m", "drop-8b"],
        "suite": ["core", "full"],
    }


def test_tasks_that_run_programs_must_be_allowed():
    """Only if a figure reads the task; its definition alone is accepted."""

    def reading(suite):
        figures = {"ext_influence": {"reads": {"task_scores": reads_suite(suite)}}}
        return resolved(("benchmarks/run_code", False), ("figures", figures))

    assert reading("full")
    with pytest.raises(experiment.ConfigError, match=r"run_code is false, .* reads task humaneval"):
        reading("hard")


def test_local_rows_must_exist_if_a_figure_reads_them():
    rows = [{"split": "test", "source": {"from": "path", "path": "nowhere"}}]
    changes = (("tasks/wikitext/rows", rows), ("suites/mine", ["wikitext"]))
    assert resolved(*changes)["tasks"]["wikitext"]["rows"][0]["source"]["path"].endswith("nowhere")
    with pytest.raises(
        experiment.ConfigError, match=r"tasks/wikitext/rows/test/source/path: there is"
    ):
        resolved(*changes, (f"{READS}/task_scores", reads_suite("mine")))


SEARCH = "figures/ext_influence"
PLAIN = {"source": HUB, "n_blocks": 30, "dtype": "float32"}
NOWHERE = {"from": "path", "path": "nowhere"}
EMBEDDING = {"pooling": "mean", "normalize": True, "max_length": 64, "sets": ["squad"]}


def searched(variants, models=("all-minilm-l6-v2",), table="retrieval_scores"):
    """ext_influence reading one table of other models."""
    reads = {table: {"variant": list(variants)} if table != "calibration" else {}}
    return ((f"{SEARCH}/reads", reads), (f"{SEARCH}/models", list(models)))


def test_an_encoder_supports_drops_and_pruning():
    variants = ["dense", "drop-[124][abm]", "wanda-*"]
    read = resolved(*searched(variants))["figures"]["ext_influence"]
    assert read["models"] == ["all-minilm-l6-v2"]
    assert len(read["reads"]["retrieval_scores"]["variant"]) == 13


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (searched(["drop-8a"]), r"n_drop is 8, but all-minilm-l6-v2, .*has 6 attn sublayers"),
        (searched(["dense"], table="variant_cost"), r"variant_cost of all-minilm.* has no logits"),
        (
            (("export", {"model": ["all-*"], "variant": ["dense"]}),),
            r"export reads checkpoints of all-minilm-l6-v2, which is of kind encoder",
        ),
        (
            (*searched(["dense"], models=["m"]), ("models/m", {**ENTRY, "embedding": EMBEDDING})),
            None,
        ),
        (
            (*searched(["dense"], models=["m"]), ("models/m", PLAIN)),
            r"reads/retrieval_scores: models/m lacks `embedding`",
        ),
        (
            (*searched(["dense"]), ("retrieval_sets/squad/source", NOWHERE)),
            r"retrieval_sets/squad/source/path: there is no /.*/nowhere",
        ),
        ((("retrieval_sets/unread", {"format": "beir", "source": NOWHERE}),), None),
    ],
)  # fmt: skip
def test_impossible_retrieval_is_refused(changes, message):
    """If a figure requests it; None means accepted: it is not requested, or possible."""
    if message is None:
        resolved(*changes)
        return
    with pytest.raises(experiment.ConfigError, match=message):
        resolved(*changes)


def test_few_shot_counts_of_the_paper_are_possible():
    """paper.yaml over config.yaml is accepted, with complete data sets from the hub."""
    config = copy.deepcopy(CONFIG)
    overlay = yaml.safe_load((ROOT / "paper.yaml").read_text(encoding="utf-8"))
    update_config(config, overlay)
    resolved = experiment.resolve(config, ROOT)
    asked = {*resolved["suites"]["core"], *resolved["matched_formats"]["sources"]}
    tasks = {name: resolved["tasks"][name] for name in asked}
    shots = {"boolq": 0, "rte": 0, "openbookqa": 0, "piqa": 0, "mmlu": 5, "winogrande": 5}
    shots |= {"gsm8k": 5, "hellaswag": 10, "arc_challenge": 25, "mbpp": 3}
    assert {name: tasks[name]["n_shot"] for name in shots} == shots
    assert {entry["limit"] for entry in tasks.values()} == {"all"}
    sources = [row["source"]["from"] for entry in tasks.values() for row in entry["rows"]]
    assert set(sources) == {"hub"}


def test_a_name_matches_only_itself():
    """Dots and plus signs are not regular expressions; an empty list matches nothing."""
    pattern = experiment.one_of(["a.b", "c"])
    assert [bool(re.fullmatch(pattern, name)) for name in ("a.b", "c", "axb", "")] == [1, 1, 0, 0]
    assert not re.search(experiment.one_of([]), "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("sede", [0]), r"no key 'sede'. Did you mean 'seeds'\?"),
        (("seed", 0), r"no key 'seed'. Did you mean 'seeds'\?"),
        (("limits/memory", 4), r"limits: .*no key 'memory'.* There are: mem_mb, runtime, gpu"),
        (("limits/mem_mb", 100), r"limits/mem_mb is 100; it must be at least 500"),
        (("limits/runtime", 0), r"limits/runtime is 0; it must be at least 1"),
        (("limits/gpu", 2), r"limits/gpu is 2; it must be at most 1"),
        (("calibration/n_sequence", 4), r"calibration: .*Did you mean 'n_sequences'\?"),
        (("models/m", {"source": HUB, "n_blocks": 3}), r"models/m lacks `dtype`: number type"),
        (
            ("models/M", {"source": HUB, "n_blocks": 3, "dtype": "float32"}),
            r"the name 'M' will not",
        ),
        (("models/a:b", ENTRY), r"models: the name 'a:b' will not do"),
        (("variants/a b", {"method": "identity"}), r"variants: the name 'a b' will not do"),
        (("figures/../x", {"reads": {"influence": {}}}), r"figures: .*'\.\.'"),
        ((f"models/{MODEL}/dtype", "fp16"), r"dtype is 'fp16'; it must be one of float32"),
        ((f"models/{MODEL}/n_blocks", 30.0), r"n_blocks is 30.0; it must be a whole number"),
        ((f"models/{MODEL}/source/from", "hubb"), r"no from 'hubb'. Did you mean 'hub'\?"),
        ((f"models/{MODEL}/source", {**HUB, "revision": "main"}), r"40 hexadecimal digits"),
        ((f"models/{MODEL}/source", {**HUB, "split": "train"}), r"source/split .* remove it"),
        ((f"models/{MODEL}/source/version", 0.1), r"version is 0.1; it must be text, so quote it"),
        ((f"models/{MODEL}/source/sha256", "abc"), r"64 hexadecimal digits"),
        ((f"models/{MODEL}/source", {"from": "path", "path": "nowhere"}), r"no /.*/nowhere"),
        (("default_model", "smollm2"), r"no model 'smollm2'. Did you mean 'smollm2-135m-instruct'"),
        (("calibration/corpus", "c5"), r"no corpus 'c5'. Did you mean 'c4'\?"),
        (("calibration/protocol", "random"), r"protocol is 'random'; .*window, packed"),
        (("calibration/n_sequences", 0), r"n_sequences is 0; it must be at least 1"),
        (("calibration/sequence_length", -1), r"sequence_length is -1; it must be at least 1"),
        ((f"models/{MODEL}/kind", "decoder"), r"kind is 'decoder'; it must be one of causal"),
        ((f"models/{MODEL}/embedding/pooling", "cls"), r"pooling is 'cls'; .*mean, last_token"),
        ((f"models/{MODEL}/embedding/sets", ["squat"]), r"no retrieval set 'squat'. Did you mean"),
        ((f"models/{MODEL}/embedding/query_instruction", "Q:"), r"not of the form .*\{query\}"),
        (("retrieval_sets/squad/format", "bier"), r"format is 'bier'; it must be one of beir"),
        (("retrieval_sets/squad/n_queries", 0), r"n_queries is 0; it must be at least 1"),
        (("retrieval_sets/new", {"format": "beir"}), r"retrieval_sets/new lacks `source`"),
        (("seeds", None), r"seeds is empty"),
        (("seeds", []), r"seeds is \[\]; it must hold something"),
        (("seeds", 0), r"seeds is 0; it must be a list"),
        (("seeds", [0, 0]), r"seeds"),
        (("seeds", [0, -1]), r"seeds/1 is -1; it must be at least 0"),
        (("seeds", [0.5]), r"seeds/0 is 0.5; it must be a whole number"),
        (("seeds", [True]), r"seeds/0 is True; it must be a whole number"),
        (("seeds", [2**63]), r"seeds/0 is 9223372036854775808; it must be at most"),
        (("variants/x", {"method": "wanda", "pattern": "0:4"}), r"'0:4' is not n:m"),
        (("variants/x", {"method": "neuron", "sparsity": 1.0}), r"sparsity is 1.0; .*below 1"),
        (("tracing/temperatures", []), r"temperatures is \[\]; it must hold something"),
        (("tracing/temperatures", [1.0, 0]), r"temperatures/1 is 0; it must be above 0"),
        (("tracing/temperatures", [1.0, -0.5]), r"temperatures/1 is -0.5; it must be above 0"),
        (("tracing/temperatures", [1.0, float("nan")]), r"temperatures/1 is nan"),
        (("tracing/temperatures", [1.0, 1]), r"nothing may occur twice"),
        (("tracing/temperatures", [0.5]), r"temperatures is \[0.5\], but figures/.* shows T = 1"),
        (("tracing/temperatures", [1.0, True]), r"temperatures/1 is True; it must be a number"),
        (("prompts", {}), r"prompts is {}; it must hold something"),
        (("prompts/empty", {"kind": "open_ended", "text": " "}), r"prompts/empty/text is ' '"),
        (("prompts/odd", {"kind": "essay", "text": "x"}), r"kind is 'essay'; it must be one of"),
        (
            ("variants/x", {"method": "block_dropp", "n_drop": 1}),
            r"Did you mean 'block_drop'\? There",
        ),
        (("variants/x", {"n_drop": 1}), r"variants/x lacks `method`: one of identity"),
        (("variants/x", {"method": "identity", "n_drop": 1}), r"there is no key 'n_drop'"),
        (("variants/x", drop_blocks("some")), r"n_drop is 'some'.*or all"),
        (("variants/x", drop_blocks(-1)), r"n_drop is -1; .*at least 0"),
        (("variants/x-{k}", drop_blocks([1])), r"needs? a list `k: \[...\]`"),
        (("variants/x-{n_drop", drop_blocks([1])), r"a brace out of place"),
        (("variants/drop-1a", {"method": "identity"}), r"'drop-1a' is defined twice"),
        (("variants/drop-31b", drop_blocks(31)), r"n_drop is 31, .*30 blocks"),
        (("variants/drop-31a", drop(31, "attn")), r"n_drop is 31, .*30 attn sublayers"),
        (("variants/drop-each", drop(61)), r"n_drop is 61, .*60 sublayers"),
        (("figures/fig99", {"reads": {"influence": {}}}), r"there is no reports/figures/fig99.py"),
        ((f"{FIG06}/block", 30), r"block is 30, .*blocks 0 to 29"),
        ((FIG06, {}), r"lacks settings/block, which its query"),
        ((f"{FIG10}/generative", "basic_kode"), r"no generative task .* mean 'basic_code'"),
        ((f"{FIG10}/generative", "arc_easy"), r"'arc_easy'.* are: basic_arithmetic, basic_code"),
        (
            (f"{FIG10}/non_generative", "mmlu"),
            r"suites it reads have no non_generative task 'mmlu'",
        ),
        (("retrieval/keep_embeddings_mb", -1), r"keep_embeddings_mb is -1; it must be at least 0"),
        ((f"{READS}/influenc", {}), r"no table 'influenc'. Did you mean 'influ"),
        ((f"{READS}/influence/variant", ["dense"]), r"the table holds no variants"),
        ((REPORT, {}), r"lacks `variant`: names of"),
        ((f"{REPORT}/variant", ["drop-1"]), r"no variant 'drop"),
        (("figures/ext_influence/models", ["gpt*"]), r"there is no model 'gpt\*'"),
        ((f"{READS}/influence/model", ["gpt*"]), r"reads/influence: there is no model 'gpt\*'"),
        ((f"{READS}/task_scores", {"variant": ["dense"]}), r"task_scores lacks `suite`: names of"),
        ((f"{READS}/task_scores", {"suite": ["core"]}), r"task_scores lacks `variant`"),
        (("matched_formats/sources/squad/n_items", 3), r"n_items is 3, .* chooses from 4 answers"),
        (("matched_formats/sources/mbpp", {}), r"matched_formats/sources: there is no key 'mbpp'"),
        ((f"{READS}/task_scores", reads_suite("cor")), r"no suite 'cor'. Did you mean 'core'\?"),
        ((f"{REPORT}/suite", ["core"]), r"the table holds no suites"),
        (("suites/mine", ["helaswag"]), r"no task 'helaswag'. Did you mean 'hellaswag'\?"),
        (("suites/mine", ["rte", "rte"]), r"suites/mine .*nothing may occur twice"),
        (("tasks/rte/limit", 0), r"tasks/rte/limit is 0; it must be at least 1"),
        (("tasks/rte/limit", "most"), r"tasks/rte/limit is 'most'"),
        (("tasks/rte/n_shot", 2), r"tasks/rte/n_shot is 2, but its rows have no split to take"),
        (("tasks/rte/family", "choice"), r"must be one of non_generative, generative"),
        (("tasks/rte/rows", [task_split("train")]), r"rows has no split to score"),
        (("tasks/rte/rows", [task_split("test")] * 2), r"rows names the split test twice"),
        (("tasks/rte/rows", [task_split("test", format="sqad")]), r"format is 'sqad'"),
        (("benchmarks/run_code", "yes"), r"run_code is 'yes'; it must be true or false"),
        (("export", {"variant": ["drop-1"]}), r"export/variant: there is no variant 'drop-1'"),
        (("export", {"model": [MODEL]}), r"export lacks `variant`"),
        (("pathvars/results", "store/."), r"store and results are both 'store'"),
        (("pathvars/store", "store/{model}"), r"pathvars/store is 'store/{model}'"),
        (("figures", []), r"figures is \[\]; it must be a mapping"),
        (("variants", "all"), r"variants is 'all'; it must be a mapping"),
        ((7, 7), None),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_errors_name_the_key_and_a_remedy(change, message):
    """One line each; the first gives the place, the reason and what to do."""
    key, value = change
    config = changed((key, value)) if isinstance(key, str) else {**changed(), key: value}
    with pytest.raises(experiment.ConfigError, match=message or "does not read as text") as refused:
        experiment.resolve(config, ROOT)
    assert all(line.startswith("config: ") for line in str(refused.value).splitlines())


def test_all_mistakes_are_reported_together():
    with pytest.raises(experiment.ConfigError) as refused:
        resolved(("seeds", [-1]), ("decoding/max_new_tokens", 0))
    assert len(str(refused.value).splitlines()) == 2


def test_definitions_that_no_figure_reads_are_not_checked():
    """For instance a model whose folder is missing, and a variant with too many drops."""
    absent = {"source": {"from": "path", "path": "nowhere"}, "n_blocks": 3, "dtype": "float32"}
    resolved(("models/absent", absent), ("variants/deep", drop_blocks(99)))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A Llama of 3 blocks, d 24, 40 neurons, 4096 positions, and how config names it."""
    return make_tiny_model(tmp_path_factory.mktemp("hub") / "tiny")


def local(folder, *changes, variants=("dense",), **entry):
    """config.yaml with a figure that reads the compression of a local model alone."""
    source = {"from": "path", "path": str(folder)}
    reads = {"compression_report": {"model": ["local"], "variant": list(variants)}}
    return resolved(
        ("models/local", {"source": source, "dtype": "float32", **entry}),
        ("figures", {"ext_influence": {"reads": reads}}),
        *changes,
    )


def test_the_number_of_blocks_must_be_that_of_the_model(tiny):
    local(tiny, variants=["drop-2b"])
    local(tiny, variants=["drop-2b"], n_blocks=3)
    with pytest.raises(experiment.ConfigError, match=r"n_drop is 4, but local, .* has 3 blocks"):
        local(tiny, variants=["drop-4b"])
    with pytest.raises(
        experiment.ConfigError, match=r"local/n_blocks is 4, but .* Set n_blocks: 3"
    ):
        local(tiny, n_blocks=4)


def quantized(group_size):
    return ("variants/x", {"method": "rtn", "bits": 4, "group_size": group_size})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ((quantized(8),), None),
        ((quantized(24),), r"x/group_size is 24, .*the 40 inputs \(intermediate_s.*divides 8"),
        ((("variants/x", {"method": "wanda", "pattern": "4:8"}),), None),
        ((("variants/x", {"method": "wanda", "pattern": "8:16"}),), r"x/pattern is 8:16, .* 24 in"),
        ((quantized(8), ("calibration/sequence_length", 4096)), None),
        ((quantized(8), ("calibration/sequence_length", 4097)), r"length is 4097, .*4096 pos"),
        ((quantized(8), ("decoding/max_new_tokens", 5000)), r"max_new_tokens is 5000, but local"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_the_model_are_refused(changes, message, tiny):
    if message is None:
        local(tiny, *changes, variants=["x"])
        return
    with pytest.raises(experiment.ConfigError, match=message):
        local(tiny, *changes, variants=["x"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"quantization_config": {"quant_method": "gptq"}}, "quantized already .*gptq"),
        ({"model_type": "rwkv"}, "'rwkv' is not known"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "a special head"),
        ({"num_hidden_layers": 4}, "block 3 is missing"),
    ],
)
def test_an_unsupported_local_model_is_refused_before_the_first_job(
    settings, message, tiny, tmp_path
):
    folder = shutil.copytree(tiny, tmp_path / "m")
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))
    with pytest.raises(experiment.ConfigError, match=f"models/local/source: .*{message}"):
        local(folder)


def test_an_unsupported_hub_model_is_refused_by_its_configuration(tiny, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    hub = {"source": HUB, "dtype": "float32"}
    changes = (("models/h", hub), (f"{REPORT}/model", ["h"]), (f"{REPORT}/variant", ["drop-4b"]))
    resolved(*changes)
    snapshot = tmp_path / "models--owner--name/snapshots" / HUB["revision"]
    snapshot.mkdir(parents=True)
    shutil.copy(tiny / "config.json", snapshot)
    with pytest.raises(experiment.ConfigError, match=r"n_drop is 4, but h, .* has 3 blocks"):
        resolved(*changes)


@pytest.mark.parametrize(
    "text",
    [
        "variants:\n  a: {method: identity}\nvariants:\n  b: {method: identity}\n",
        "prompts:\n  a: {kind: x}\n  a: {kind: y}\n",
        "figures: {f: {reads: {t: {variant: [a], variant: [b]}}}}\n",
        '{"seed": 1,\n\t"seed": 2}\n',
    ],
)
def test_a_duplicate_key_is_refused(text, tmp_path):
    """With both line numbers, although Snakemake's merged mapping does not show it."""
    file = tmp_path / ("c.json" if "\t" in text else "c.yaml")
    file.write_text(text, encoding="utf-8")
    with pytest.raises(experiment.ConfigError, match=r"is given twice in .*, in lines \d and \d"):
        experiment.check_files([ROOT / "config.yaml", file])
    if file.suffix == ".yaml":
        with pytest.raises(experiment.ConfigError, match="is given twice"):
            load_configfile(str(file))


def test_files_of_the_repository_have_no_duplicate_keys():
    """Merged mappings (`<<`) and equal keys of different mappings are not duplicates."""
    experiment.check_files([ROOT / "config.yaml", ROOT / "paper.yaml", ROOT / "absent.yaml"])


def test_relative_paths_start_at_the_snakefile(tmp_path, monkeypatch):
    """Jobs run in another directory, so paths are resolved relative to it."""
    monkeypatch.chdir(tmp_path)
    corpus = CONFIG["calibration"]["corpus"]
    config = resolved((f"corpora/{corpus}/source", {"from": "path", "path": "tests"}))
    assert Path(config["corpora"][corpus]["source"]["path"]).samefile(ROOT / "tests")


def test_schema_and_signatures_of_methods_agree():
    """Keyword-only parameters of `compress` are exactly the settings in config."""
    declared = {
        name: set(part["properties"]) - {"method"}
        for name, part in json_schema.schema()["$defs"]["methods"].items()
    }
    assert declared == {name: set(methods.settings(name)) for name in methods.names()}
    chosen = json_schema.schema()["properties"]["variants"]["additionalProperties"]["oneOf"]
    assert {Path(part["$ref"]).name for part in chosen} == set(declared)


def test_settings_of_figures_are_the_parameters_of_queries():
    """No setting is unknown to all queries, and no query reads a setting that config refuses."""
    folders = ("figures", "views")  # claims have settings of their own
    files = [file for name in folders for file in (ROOT / "reports" / name).glob("*.sql")]
    queries = [file.read_text("utf-8") for file in files]
    parameters = {name for query in queries for name in parsed_sql.parameters(query)}
    assert set(FigureSettings.model_fields) == parameters


def test_dtypes_and_kinds_of_models_are_those_that_can_be_loaded():
    """Config names them in its own list, because planning must not import torch."""
    model, passes = (section.model_fields for section in (Model, Compression))
    assert get_args(model["dtype"].annotation) == tuple(loading.DTYPES)
    assert get_args(model["kind"].annotation) == tuple(loading.KINDS)
    assert get_args(passes["forward_dtype"].annotation) == ("model", *loading.DTYPES)


def test_every_key_is_described_and_other_keys_are_refused():
    """No field lacks a description, and no mapping accepts arbitrary keys."""

    def walk(part, where):
        if isinstance(part, list):
            for index, item in enumerate(part):
                walk(item, f"{where}/{index}")
        if not isinstance(part, dict):
            return
        if part.get("type") == "object" and "oneOf" not in part and "$defs" not in where:
            assert "additionalProperties" in part, where
        for name, key in part.get("properties", {}).items():
            assert json_schema.meaning(key) != "see the schema", f"{where}/{name}"
        for name, item in part.items():
            walk(item, f"{where}/{name}")

    walk(json_schema.schema(), "")


def test_readouts_must_exist():
    """Only some tables have a readout; the default is that of the paper."""
    figure = "figures/ext_readout/reads"
    assert resolved()["figures"]["ext_readout"]["reads"]["deviation"]["readout"] == [
        "lm_head",
        "final_norm",
    ]
    with pytest.raises(experiment.ConfigError, match=r"no readout 'final_nrom'.*final_norm"):
        resolved((f"{figure}/deviation/readout", ["final_nrom"]))
    influence = {"figures/ext_influence/reads/influence": {"readout": ["lm_head"]}}
    with pytest.raises(experiment.ConfigError, match="one readout, the model's own"):
        resolved(*influence.items())


NAMED = {"models", "corpora", "prompts", "variants", "tasks", "suites", "retrieval_sets", "figures"}
"""Sections whose keys are names, of which the test below needs one of every form only."""


def keys_of(part, keys=()):
    """The path of every key and item in a part of config."""
    items = part.items() if isinstance(part, dict) else enumerate(part)
    for key, value in items:
        yield (*keys, key)
        if isinstance(value, dict | list):
            yield from keys_of(value, (*keys, key))


def form(keys):
    """A path of keys without names and numbers of items."""
    named = keys[0] in NAMED | {"wheels", "variant_sets", "model_sets"}
    return tuple(
        "*" if isinstance(key, int) or (place == 1 and named) else key
        for place, key in enumerate(keys)
    )


@pytest.mark.parametrize("wrong", [{}, [["a"]], {"a": {"b": [1]}}, -0.5, "[{", "a\x00", "x" * 5000])
def test_a_wrong_value_at_any_key_is_one_line(wrong):
    """It is refused in words, or is one that the key accepts; nothing else is ever raised."""
    hub = {"from": "hub", "id": "owner/name", "revision": "0" * 40}
    own = [{"split": "test", "source": {"from": "path", "path": "x"}, "format": "hub"}]
    whole = changed(
        ("model_sets", {"all": ["*"]}),
        ("models/hub", {"source": hub, "dtype": "float32"}),
        ("models/path", {"source": {"from": "path", "path": "."}, "dtype": "float32"}),
        ("figures/ext_influence/models", ["path", "hub"]),
        ("retrieval_sets/hub", {"source": hub, "format": "beir", "qrels": hub}),
        ("tasks/own", {**CONFIG["tasks"]["squad"], "rows": own, "subtasks": "a"}),
        ("export", {"variant": ["drop-*"], "model": ["all"]}),
    )
    for keys in {form(keys): keys for keys in keys_of(whole)}.values():
        config = copy.deepcopy(whole)
        *folders, last = keys
        functools.reduce(operator.getitem, folders, config)[last] = copy.deepcopy(wrong)
        try:
            experiment.resolve(config, ROOT)
        except experiment.ConfigError as refusal:
            lines = str(refusal).split("\n")
            assert all(re.match(r"config: \S.*\S$", line) for line in lines), (keys, lines)
