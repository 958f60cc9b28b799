"""Partial backfill: which few items to re-embed with the new model, and what it buys."""
