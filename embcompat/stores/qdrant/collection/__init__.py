"""Migrations into a new collection, which takes over the alias of the old one."""
