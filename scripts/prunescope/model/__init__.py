"""Transformer models: their parts, loading and editing them, and reading prompts and states."""
