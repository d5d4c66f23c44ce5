"""What Theorems 1 to 3 predict of a deviation, compared with what was measured."""

from prunescope import moved

__getattr__ = moved.names_of("prunescope.theory")
