"""Tasks of our own for lm-eval, and how their answers are scored."""
