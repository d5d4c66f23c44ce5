"""pass@k by our own sandbox, in place of the `code_eval` that lm-eval's tasks take from the hub."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

from prunescope.sandbox import starter

LIMITS = starter.Limits()
"""What one program may use."""


class CodeEval:
    """The part of Hugging Face's `code_eval` that lm-eval calls."""

    def compute(
        self,
        references: Sequence[str],
        predictions: Sequence[Sequence[str]],
        k: Sequence[int],
    ) -> tuple[dict[str, float], None]:
        """`pass@k` for every k, the mean over problems of the unbiased estimate.

        Parameters
        ----------
        references : tests of each problem, run against every program.
        predictions : programs of each problem.
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
    """True where the tests of the program end without an error."""
    return starter.run(program, tests, LIMITS).passed


def pass_at(k: int, n_programs: int, n_passed: int) -> float:
    """Probability that one of k programs drawn without return passes (Chen et al., 2021, Eq. 1)."""
    return 1.0 - math.comb(n_programs - n_passed, k) / math.comb(n_programs, k)


@contextlib.contextmanager
def in_place() -> Iterator[None]:
    """Within the block, `evaluate.load("code_eval")` gives our class, and nothing else is to load.

    lm-eval's code tasks load it, and try it on one program, when they are imported.
    """
    import evaluate  # here: it takes a second

    def load(name: str, *_: Any, **__: Any) -> CodeEval:
        if name != "code_eval":
            raise LookupError(f"metric {name!r} would come from the hub. Choose another task.")
        return CodeEval()

    own = evaluate.load
    evaluate.load = load
    try:
        yield
    finally:
        evaluate.load = own
