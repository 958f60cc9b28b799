"""Qdrant collections as galleries."""
