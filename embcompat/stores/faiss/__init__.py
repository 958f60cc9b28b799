"""FAISS index files as galleries."""
