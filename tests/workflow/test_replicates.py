"""Replicates are made of what depends on chance, and belong to the variant of the first seed."""

import pyarrow as pa
import yaml

from prunescope.compression import methods
from prunescope.paths import ROOT
from prunescope.storage import replicates as replicated_files
from prunescope.storage import store
from prunescope.tables.schemas import TABLES
from prunescope.workflow import experiment, replicates

CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))


def resolved(**changes):
    return experiment.resolve({**CONFIG, **changes}, ROOT)


def test_the_default_has_one_seed_and_no_replicate():
    assert replicates.suffixes(resolved()) == []


def test_further_seeds_follow_the_name():
    config = resolved(seeds=[3, 0, 12])
    assert replicates.suffixes(config) == ["@0", "@12"]
    assert [replicates.seed_of(each, config) for each in ("", "@0", "@12")] == [3, 0, 12]


def test_only_what_depends_on_chance_is_repeated():
    """Scores of variants that look at calibration text, and all sampled texts but dense's own."""
    config = resolved(seeds=[0, 1])
    chance = {
        variant: [
            replicates.depends_on_seed(table, variant, config)
            for table in ("task_scores", "generated_text")
        ]
        for variant in ("dense", "rtn-4bit", "magnitude-50", "drop-each", "drop-4a", "wanda-50")
    }
    assert chance == {
        "dense": [False, False],
        "rtn-4bit": [False, True],
        "magnitude-50": [False, True],
        "drop-each": [False, True],
        "drop-4a": [True, True],
        "wanda-50": [True, True],
    }
    greedy = resolved(seeds=[0, 1], decoding={**CONFIG["decoding"], "sampling_temperatures": []})
    assert not replicates.depends_on_seed("generated_text", "rtn-4bit", greedy)
    assert set(replicates.DATA_FREE) <= set(methods.names())


def test_claims_read_each_seed_with_the_files_that_it_has():
    """What has no replicate belongs to every seed."""
    tables = {
        "task_scores": [
            "s@1/task_scores/model=m/variant=dense/part.parquet",
            "s@1/task_scores/model=m/variant=wanda/part.parquet",
            "s@1/task_scores/model=m/variant=wanda@7/part.parquet",
        ],
        "influence": ["s@1/influence/model=m/part.parquet", "s@1/influence/model=m@7/part.parquet"],
    }
    first, of_seven = replicated_files.by_seed(tables).values()
    assert first == {name: [f for f in files if "@7" not in f] for name, files in tables.items()}
    assert of_seven == {
        "task_scores": tables["task_scores"][::2],
        "influence": [tables["influence"][1]],
    }


def test_queries_see_a_replicate_under_the_name_of_its_variant(tmp_path):
    file = tmp_path / "surprisal/model=m@1/part.parquet"
    row = {"nats_per_token": 1.0, "standard_error": 0.1, "n_tokens": 9, "nats_of_a_guess": 2.0}
    rows = pa.Table.from_pylist([row], schema=TABLES["surprisal"].schema)
    store.write(file, rows, "surprisal", {})
    with store.open_tables({"surprisal": [file]}) as connection:
        assert connection.sql("SELECT model FROM surprisal").fetchall() == [("m",)]
