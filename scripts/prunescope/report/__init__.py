"""Queries, charts and the page."""
