"""Compress a dense model by dropping sublayers, pruning or quantization, on calibration text."""
