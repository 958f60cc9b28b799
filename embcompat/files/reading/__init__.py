"""Readers of the formats, and the one door to them: `opening.open_vectors`."""
