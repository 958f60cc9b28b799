"""Parquet and .npy files as galleries."""
