"""A perturbation followed through blocks, spaces and decoding steps."""

from prunescope import moved

__getattr__ = moved.names_of("prunescope.tracing")
