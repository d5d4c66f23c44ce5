"""Statistics that compare two vectors, two distributions or two texts."""
