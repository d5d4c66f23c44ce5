"""A run says how long it will take, how far it is and what is left."""

import json

import pytest
import yaml

from prunescope.paths import ROOT
from prunescope.workflow import experiment, forecast
from tiny import make_tiny_model, tiny_model

CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))


def job(rule, timing=None, threads=1, **wildcards):
    return forecast.Job(rule, wildcards, timing, threads)


@pytest.fixture
def config(tmp_path):
    pathvars = {name: str(tmp_path / name) for name in ("store", "results", "logs")}
    return {**experiment.resolve(CONFIG, ROOT), "pathvars": pathvars}


def time_of(folder, name, seconds):
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.seconds.tsv"
    file.write_text(f"s\tmax_rss\n1.5\t-\n{seconds}\t-\n", encoding="utf-8")
    return file


def total(jobs, config, cores=1, gflops=forecast._REFERENCE_GFLOPS):
    return forecast.Forecast(jobs, config, cores, gflops).total


def test_a_job_takes_as_long_as_last_time(config, tmp_path):
    """One that has never run takes the median of its like."""
    folder = tmp_path / "logs" / "trace_decoding"
    times = [time_of(folder, name, s) for name, s in (("a", 10), ("b", 30), ("c", 99))]
    assert total([job("trace_decoding", times[0])], config) == 10
    assert total([job("trace_decoding", folder / "new.seconds.tsv")], config) == 30


def test_cores_share_the_jobs(config, tmp_path):
    """But a job that takes all of them has them alone."""
    file = time_of(tmp_path / "logs" / "draw_figure", "a", 10)
    jobs = [job("draw_figure", file) for _ in range(4)]
    assert total(jobs, config, cores=2) == pytest.approx(20)
    assert total([job("draw_figure", file, threads=2)], config, cores=2) == 10


def test_a_slower_machine_and_a_larger_model_take_longer(config, tmp_path):
    asked = [job("trace_decoding", model="smollm2-135m-instruct", variant="drop-8a")]
    usual = total(asked, config)
    slow = total(asked, config, gflops=forecast._REFERENCE_GFLOPS / 3)
    assert slow - forecast._STARTUP == pytest.approx(3 * (usual - forecast._STARTUP))
    folder = make_tiny_model(tmp_path / "model", num_hidden_layers=4)
    source = {"from": "path", "path": str(folder)}
    models = {**config["models"], "tiny": {"source": source, "dtype": "float32"}}
    small = total([job("trace_decoding", model="tiny")], {**config, "models": models})
    assert small - forecast._STARTUP < (usual - forecast._STARTUP) / 1000


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt2", "phi3"])
def test_the_number_of_weights_follows_from_config_json(architecture):
    """Within a third of what torch counts, norms and tied embeddings aside."""
    sizes = {"hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 8, "head_dim": 24}
    model = tiny_model(architecture, vocabulary=320, **({} if architecture == "gpt2" else sizes))
    counted = sum(
        weight.numel() for name, weight in model.named_parameters() if "lm_head" not in name
    )
    settings = json.loads(model.config.to_json_string(use_diff=False))
    if architecture == "gpt2":
        counted -= model.transformer.wpe.weight.numel()
    assert forecast.parameters(settings) == pytest.approx(counted, rel=1 / 3)


def test_what_is_left_is_corrected_by_what_was_done(config, tmp_path):
    """If half of the work took twice as long as foreseen, the other half will, too."""
    file = time_of(tmp_path / "logs" / "draw_figure", "a", 10)
    jobs = [job("draw_figure", file) for _ in range(4)]
    expected = forecast.Forecast(jobs, config, 1, 1.0)
    done = {id(each) for each in jobs[:2]}
    assert expected.left(set(), elapsed=0) == 40
    assert expected.left(done, elapsed=40) == pytest.approx(40)
    words = forecast.progress_in_words(expected, done, 40)
    assert words == "2 of 4 jobs done in 40 seconds, about 40 seconds left."


def test_the_announcement_says_what_will_run(config):
    jobs = [job("fetch_model", model="all-minilm-l6-v2"), job("draw_figure"), job("draw_figure")]
    expected = forecast.Forecast(jobs, config, 1, forecast.speed())
    assert forecast.announcement(jobs, expected, 1).startswith(
        "3 jobs of all-minilm-l6-v2, 2 figures; about "
    )


def test_durations_read_as_one_says_them():
    seconds = [3, 44, 100, 3000, 20000]
    assert [forecast.in_words(each) for each in seconds] == [
        *("10 seconds", "40 seconds", "2 minutes", "50 minutes", "5.6 hours")
    ]
