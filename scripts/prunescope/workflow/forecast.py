"""How long a run will take, how far it is, and what is left.

A job that has been run before, with whatever settings, is expected to take as long again. One whose
like has been run takes the median of those. Others are estimated from the time that the embedded
model took on a reference machine, from the sizes of this model, from the amount of text, and from
the speed at which this machine multiplies matrices.
"""

import csv
import statistics
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prunescope.compression import selections
from prunescope.inputs import model_config
from prunescope.workflow import model_plan

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Job:
    """A job of the plan.

    Attributes
    ----------
    rule : its rule.
    wildcards : model, variant and others, by name.
    timing : the file in which Snakemake times it; None if it does not.
    threads : cores that it takes.
    """

    rule: str
    wildcards: Mapping[str, str]
    timing: Path | None
    threads: int


_STARTUP = 5.0
"""Seconds in which a job that runs a model loads its libraries and the model."""

_LIGHT = 2.5
"""Seconds of a job that runs no model."""

_REFERENCE_GFLOPS = 88.0
"""`speed` of the reference machine, an Intel Xeon with AVX-512."""

_REFERENCE_PARAMETERS = 135e6

_SECONDS: Mapping[str, float] = {
    "fetch_model": 15,
    "check_model": 20,
    "score_influences": 18,
    "answer_selection_prompts": 12,
    "score_removals": 85,
    "compress_model": 15,
    "generate_dense": 22,
    "measure_variant": 60,
    "trace_sublayers": 80,
    "trace_decoding": 85,
    "split_attention_error": 28,
    "run_lm_eval": 42,
    "run_matched_formats": 25,
    "run_retrieval": 12,
}
"""Seconds of work per job on the embedded model with config.yaml (CPU time, 28 November 2026)."""

_COMPRESSION = {
    **dict.fromkeys(("identity", "sublayer_drop", "block_drop"), 0.0),
    "sparsegpt": 3.0,
    "awq": 5.0,
}
"""Work of a method of compression, in multiples of one that reads each block once."""


def speed() -> float:
    """GFLOP/s of one core in a float32 product of matrices: the best of many, between other work.

    The matrices are so small that numpy uses one thread: several would wait for busy cores.
    """
    size, best = 64, float("inf")
    matrix = np.ones((size, size), np.float32)
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        start = time.perf_counter()
        matrix @ matrix
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e9


def parameters(settings: model_config.ModelConfig) -> float:
    """Number of weights of a language model, about, from the sizes in its config.json."""
    shape = model_config.shape_of(settings)
    sizes = list(shape.linear_inputs.values())
    if shape.n_blocks is None or not sizes:
        return _REFERENCE_PARAMETERS
    hidden, inner = sizes[0], sizes[-1]
    vocabulary = int(settings.get("vocab_size", 50_000))
    return shape.n_blocks * (3 * hidden**2 + 3 * hidden * inner) + vocabulary * hidden


class Forecast:
    """Expected seconds of jobs, and the state of a run.

    Parameters
    ----------
    jobs : the jobs that will run.
    config : the resolved config.
    cores : number of cores of the run.
    gflops : result of `speed`.
    """

    def __init__(self, jobs: Sequence[Job], config: Config, cores: int, gflops: float) -> None:
        self._config = config
        self._slowness = _REFERENCE_GFLOPS / gflops
        self._scales: dict[str, float] = {}
        self._cores = max(1, cores)
        self._timings: dict[str, list[float]] = {}
        self.seconds = {id(job): self._seconds(job) * self._share(job) for job in jobs}
        self.total = sum(self.seconds.values())

    def _share(self, job: Job) -> float:
        """Share of the cores that a job takes while it runs."""
        return min(job.threads, self._cores) / self._cores

    def _seconds(self, job: Job) -> float:
        if job.timing is not None and (measured := _timed(job.timing)) is not None:
            return measured
        if job.rule not in self._timings:
            root = Path(self._config["pathvars"]["logs"]) / job.rule
            found = [_timed(file) for file in sorted(root.rglob("*.seconds.tsv"))]
            self._timings[job.rule] = [each for each in found if each is not None]
        if self._timings[job.rule]:
            return statistics.median(self._timings[job.rule])
        if job.rule not in _SECONDS:
            return _LIGHT
        return _STARTUP + _SECONDS[job.rule] * self._work(job) * self._slowness

    def _work(self, job: Job) -> float:
        """Work of a job, in multiples of that of the embedded model with config.yaml."""
        model = job.wildcards.get("model")
        amount = _AMOUNTS.get(job.rule)
        factor = 1.0 if amount is None else amount(self._config, job.wildcards)
        return self._scale(model) * factor

    def _scale(self, model: str | None) -> float:
        if model is None:
            return 1.0
        if model not in self._scales:
            try:
                settings = model_plan.settings_of(model, self._config)
            except (ValueError, OSError):
                settings = None
            size = _REFERENCE_PARAMETERS if settings is None else parameters(settings)
            self._scales[model] = size / _REFERENCE_PARAMETERS
        return self._scales[model]

    def left(self, finished: set[int], elapsed: float) -> float:
        """Seconds that are left, corrected by how well the finished jobs were foreseen.

        Parameters
        ----------
        finished : ids of the finished jobs.
        elapsed : seconds since the run began.
        """
        done = sum(seconds for job, seconds in self.seconds.items() if job in finished)
        correction = elapsed / done if done > 0.1 * self.total else 1.0
        return (self.total - done) * correction


def _timed(file: Path) -> float | None:
    """Seconds of the last run in one of Snakemake's timing files; None if there is none."""
    if not file.is_file():
        return None
    with file.open(encoding="utf-8") as lines:
        runs = [row.get("s") for row in csv.DictReader(lines, delimiter="\t")]
    try:
        return float(str(runs[-1]))
    except (IndexError, ValueError):
        return None


def _tokens(config: Config, length: int, usual: int) -> float:
    return len(config["prompts"]) * length / (12 * usual)


def _items(config: Config, wildcards: Mapping[str, str]) -> float:
    """Items of a suite, in multiples of 100; all of a set count as 2000."""
    limits = [config["tasks"][task]["limit"] for task in config["suites"][wildcards["suite"]]]
    return sum(2000 if limit == "all" else limit for limit in limits) / 100


def _method(config: Config, wildcards: Mapping[str, str]) -> float:
    return _COMPRESSION.get(config["variants"][wildcards["variant"]]["method"], 1.0)


def _rounds(config: Config, wildcards: Mapping[str, str]) -> float:
    """Rounds of a search, each of which scores the candidates that are left."""
    selection = selections.named(wildcards["selection"])
    if selection.search != "greedy":
        return 1.0
    size = selections.sizes(config["variants"])[selection.name]
    return 30.0 if size == "all" else float(size)


_AMOUNTS: Mapping[str, Callable[[Config, Mapping[str, str]], float]] = {
    "compress_model": _method,
    "score_removals": _rounds,
    "run_lm_eval": _items,
    "generate_dense": lambda config, _: (
        _tokens(config, config["decoding"]["max_new_tokens"], 64)
        * (1 + len(config["decoding"]["sampling_temperatures"]))
        / 2
    ),
    "trace_decoding": lambda config, _: _tokens(config, config["decoding"]["max_new_tokens"], 64),
    "split_attention_error": lambda config, _: _tokens(
        config, config["decoding"]["max_new_tokens"], 64
    ),
    "trace_sublayers": lambda config, _: _tokens(config, config["tracing"]["steps"], 32),
    "score_influences": lambda config, _: (
        config["calibration"]["n_sequences"] * config["calibration"]["sequence_length"] / 4096
    ),
}
"""Amount of text of a job, in multiples of that of config.yaml, by rule."""


def in_words(seconds: float) -> str:
    """A duration as one says it: `40 seconds`, `12 minutes`, `3.5 hours`."""
    if seconds < 90:
        return f"{max(10, round(seconds, -1)):.0f} seconds"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"


def announcement(jobs: Sequence[Job], forecast: Forecast, cores: int) -> str:
    """What will run, and how long about."""
    models = list(dict.fromkeys(job.wildcards["model"] for job in jobs if "model" in job.wildcards))
    figures = sum(job.rule == "draw_figure" for job in jobs)
    of_models = f" of {', '.join(models)}" if models else ""
    plural = "" if cores == 1 else "s"
    return (
        f"{len(jobs)} jobs{of_models}, {figures} figures; about {in_words(forecast.total)} on "
        f"{cores} core{plural}, if nothing else runs."
    )


def watch(forecast: Forecast, finished_jobs: Callable[[], set[int]], every: float = 30) -> None:
    """Tell how far a run is, in a line on standard error whenever jobs have ended since the last.

    The thread that does so ends with the process.

    Parameters
    ----------
    forecast : of the jobs of the run.
    finished_jobs : returns the ids of the finished jobs.
    every : seconds between two looks.
    """
    start = time.monotonic()

    def tell() -> None:
        told = 0
        while told < len(forecast.seconds):
            time.sleep(every)
            finished = finished_jobs()
            if len(finished) > told:
                told = len(finished)
                elapsed = time.monotonic() - start
                words = progress_in_words(forecast, finished, elapsed)
                sys.stderr.write(f"prunescope: {words}\n")

    threading.Thread(target=tell, name="progress of the run", daemon=True).start()


def progress_in_words(forecast: Forecast, finished: set[int], elapsed: float) -> str:
    """How far a run is and what is left, as `watch` tells it."""
    left = forecast.left(finished, elapsed)
    rest = f"about {in_words(left)} left" if len(finished) < len(forecast.seconds) else "all done"
    return f"{len(finished)} of {len(forecast.seconds)} jobs done in {in_words(elapsed)}, {rest}."
