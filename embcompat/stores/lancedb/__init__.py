"""LanceDB tables as galleries."""
