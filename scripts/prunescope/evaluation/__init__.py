"""Score variants on benchmarks, on matched formats and on retrieval."""

from prunescope import moved

__getattr__ = moved.names_of("prunescope.evaluation")
