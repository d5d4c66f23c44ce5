"""Programs that a model wrote run where they do no harm and cannot reach the verdict."""

from prunescope import moved

__getattr__ = moved.names_of("prunescope.sandbox")
