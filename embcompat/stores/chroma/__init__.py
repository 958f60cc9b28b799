"""Chroma collections, in a folder or behind a server."""
