"""Files of vectors: the only room that knows their formats."""
