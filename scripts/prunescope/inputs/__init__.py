"""Models, corpora, tasks and retrieval sets from a hub, a wheel or a path."""
