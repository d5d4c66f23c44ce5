"""prunescope: follow a pruning perturbation from hidden states to logits to probabilities."""

import gc

from prunescope import moved

# Imports make a million objects that stay. To look for garbage after every 700 of them, as Python
# does, is a fifth of the time that torch and transformers take to import.
gc.set_threshold(100_000)

moved.install()
