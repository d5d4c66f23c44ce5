"""Estimates of deviations by Theorems 1 to 3, next to the measured deviations."""

from prunescope import moved

__getattr__ = moved.names_of("prunescope.theory")
