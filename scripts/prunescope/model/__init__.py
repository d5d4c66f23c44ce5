"""A transformer as prunescope sees it: blocks, sublayers, edits, and the states between."""
