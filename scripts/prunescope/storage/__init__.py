"""The artifact store: files that are complete or absent and carry a digest of their content."""
