"""Traces: how the perturbation by an edit grows through blocks, spaces and decoding steps."""

from prunescope import moved

__getattr__ = moved.names_of("prunescope.tracing")
