"""prunescope: follow a pruning perturbation from hidden states to logits to probabilities."""
