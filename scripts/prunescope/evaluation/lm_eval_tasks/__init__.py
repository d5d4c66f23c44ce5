"""Our own tasks for lm-eval, and the scores of their answers."""
