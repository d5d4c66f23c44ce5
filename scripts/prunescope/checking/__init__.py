"""Whether a model runs as prunescope reads it, and how far it is from itself."""
