"""pass@k in our own sandbox, which replaces the `code_eval` that lm-eval loads from the hub."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

from prunescope.sandbox import starter

LIMITS = starter.Limits()
"""Limits of time and memory for one program."""


class CodeEval:
    """The part of the interface of Hugging Face's `code_eval` that lm-eval uses."""

    def compute(
        self,
        references: Sequence[str],
        predictions: Sequence[Sequence[str]],
        k: Sequence[int],
    ) -> tuple[dict[str, float], None]:
        """`pass@k` for every k: the mean over problems of the unbiased estimate.

        Parameters
        ----------
        references : the tests of each problem, which every program has to pass.
        predictions : the programs for each problem.
        k : numbers of programs.
        """
        passed = [
            (len(programs), sum(passes(program, tests) for program in programs))
            for programs, tests in zip(predictions, references, strict=True)
        ]
        return {
            f"pass@{n}": math.fsum(pass_at(n, *counts) for counts in passed) / len(passed)
            for n in k
        }, None


def passes(program: str, tests: str) -> bool:
    """Whether the tests of the program finish without an error."""
    return starter.run(program, tests, LIMITS).passed


def pass_at(k: int, n_programs: int, n_passed: int) -> float:
    """Probability that one of k programs passes, drawn without replacement (Chen et al., 2021).

    Parameters
    ----------
    k : number of programs that are drawn.
    n_programs, n_passed : number of programs, and of those that passed.
    """
    return 1.0 - math.comb(n_programs - n_passed, k) / math.comb(n_programs, k)


@contextlib.contextmanager
def in_place() -> Iterator[None]:
    """Within the context, `evaluate.load("code_eval")` returns our class; others are refused.

    lm-eval's code tasks load the metric and try it on a program as soon as they are imported.
    """
    import evaluate  # imported here because it takes a second

    def load(name: str, *_: Any, **__: Any) -> CodeEval:
        if name != "code_eval":
            raise LookupError(f"metric {name!r} would come from the hub. Choose another task.")
        return CodeEval()

    original = evaluate.load
    evaluate.load = load
    try:
        yield
    finally:
        evaluate.load = original
