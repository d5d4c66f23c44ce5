"""Statistics of two vectors, two distributions or two texts."""
