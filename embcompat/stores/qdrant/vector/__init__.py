"""Migrations into a new named vector of the same collection."""
