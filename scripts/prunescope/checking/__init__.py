"""Check that a model runs as prunescope reads it, and measure its noise floor."""
