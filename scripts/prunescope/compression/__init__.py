"""Calibration text in, an edit of the dense model out: drops, pruning and quantization."""
