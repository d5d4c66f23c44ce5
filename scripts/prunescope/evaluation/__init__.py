"""Benchmarks, matched formats and retrieval, scored on a variant."""

from prunescope import moved

__getattr__ = moved.names_of("prunescope.evaluation")
