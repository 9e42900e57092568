"""Metrics of results, with and without truth."""
