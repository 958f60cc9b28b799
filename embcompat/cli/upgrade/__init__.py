"""``embcompat upgrade``: the whole line, from a gallery in use to a new model in service."""

from embcompat.cli.upgrade.commands import app

__all__ = ["app"]
