"""Inputs of several commands: embeddings, items, images, texts by id, and the options that name them."""
