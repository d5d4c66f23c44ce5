"""What a plan should hold, read off config: how many variants and figures a change reaches."""

from pathlib import Path
from typing import Any

import yaml
from snakemake.utils import update_config

from prunescope.inference import claims
from prunescope.workflow import experiment, suites

DECODED = (
    "decoded_step",
    "decoding_trace",
    "decoding_shift",
    "decoding_deviation",
    "history_term",
    "history_effect",
    "option_trace",
    "option_agreement",
    "top_token",
    "generated_text",
)
"""Tables that trace_decoding writes, and the estimates and means that follow from them."""


class Planned:
    """One experiment: config.yaml with overlays, as the workflow resolves it."""

    def __init__(self, folder: Path, *overlays: str) -> None:
        config: dict[str, Any] = {}
        for file in ("config.yaml", *overlays):
            update_config(config, yaml.safe_load((folder / file).read_text(encoding="utf-8")))
        with_paths = experiment.resolve(config, folder)
        self.figures: dict[str, Any] = with_paths["figures"]
        named = {
            suite
            for figure in self.figures.values()
            for keys in figure["reads"].values()
            for suite in keys.get("suite", [])
        }
        self.suite_parts = suites.parts(with_paths["suites"])
        tasks_of = suites.written_out(with_paths["suites"])
        self.tasks = {task for suite in named for task in tasks_of[suite]}
        if self.reading("matched_samples", "format_difference"):
            self.tasks |= set(with_paths["matched_formats"]["sources"])
        self.methods = {name: each["method"] for name, each in with_paths["variants"].items()}

    def variants(self, *tables: str) -> set[tuple[str, str]]:
        """Every (model, variant) whose rows a figure reads from one of these tables."""
        return {
            (model, variant)
            for figure in self.figures.values()
            for table in tables
            if table in figure["reads"]
            for model in figure["reads"][table]["model"]
            for variant in figure["reads"][table].get("variant", [])
        }

    def traces(self, *tables: str) -> set[tuple[str, str, str]]:
        """Every (model, variant, readout) whose rows a figure reads from one of these tables."""
        return {
            (model, variant, readout)
            for figure in self.figures.values()
            for table in tables
            if table in figure["reads"]
            for model in figure["reads"][table]["model"]
            for variant in figure["reads"][table]["variant"]
            for readout in figure["reads"][table]["readout"]
        }

    def evaluations(self) -> set[tuple[str, str, str]]:
        """Every (model, variant, suite) whose scores or items a figure reads, dense's with them."""
        compared = self.comparisons()
        named = self.compared("task_scores", "task_samples") | compared
        named |= {(model, "dense", suite) for model, _, suite in compared}
        return {(m, v, part) for m, v, suite in named for part in self.suite_parts[suite]}

    def comparisons(self) -> set[tuple[str, str, str]]:
        """Every (model, variant, suite) that is compared with dense for a figure."""
        ranked = {
            (model, variant, suite)
            for figure in self.figures.values()
            if (keys := figure["reads"].get("loss_correlation"))
            for model in keys["model"]
            for suite in keys["suite"]
            for variant in figure["reads"]["decoding_deviation"]["variant"]
        }
        return self.compared("score_difference") | ranked

    def correlated(self, variants: set[tuple[str, str]]) -> set[tuple[str, str]]:
        """Every (model, suite) whose losses are correlated over some of these variants."""
        return {
            (model, suite)
            for figure in self.figures.values()
            if (keys := figure["reads"].get("loss_correlation"))
            for model in keys["model"]
            for suite in keys["suite"]
            if any(
                (model, variant) in variants
                for variant in figure["reads"]["decoding_deviation"]["variant"]
            )
        }

    def pairs_with_dense(self, *tables: str, only: str) -> set[tuple[str, str]]:
        """Every (model, variant) behind these tables, with dense behind `only`, which compares."""
        found = self.variants(*tables, only)
        return found | {(model, "dense") for model, _ in self.variants(only)}

    def compared(self, *tables: str) -> set[tuple[str, str, str]]:
        """Every (model, variant, suite) whose rows a figure reads from one of these tables."""
        return {
            (model, variant, suite)
            for figure in self.figures.values()
            for table, keys in figure["reads"].items()
            if table in tables
            for suite in keys["suite"]
            for model in keys["model"]
            for variant in keys.get("variant", [""])
        }

    def of_methods(self, found: set[tuple[str, str]], *methods: str) -> set[tuple[str, str]]:
        """Those of them that one of these methods makes."""
        return {(model, variant) for model, variant in found if self.methods[variant] in methods}

    def reading(self, *tables: str) -> set[str]:
        """Figures that read at least one of these tables."""
        return {
            name
            for name, each in self.figures.items()
            if any(table in each["reads"] for table in tables)
        }

    def showing(self, variants: set[tuple[str, str]]) -> set[str]:
        """Figures that read a table of one of these variants."""
        return {
            name
            for name, each in self.figures.items()
            if any(
                (model, variant) in variants
                for keys in each["reads"].values()
                for model in keys["model"]
                for variant in keys.get("variant", [])
            )
        }


def drawn(figures: set[str]) -> dict[str, int]:
    """Jobs that draw these figures and judge their claims, by rule."""
    judged = [figure for figure in figures if claims.of_figure(figure)]
    counts = {"draw_figure": len(figures), "judge_claims": len(judged)}
    return {rule: count for rule, count in counts.items() if count}
