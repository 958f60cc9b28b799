"""``embcompat fit``: an aligner from pairs of old and new vectors."""

from embcompat.cli.fit.command import fit

__all__ = ["fit"]
