"""Readers of the formats, and their common entry point: `opening.open_vectors`."""
