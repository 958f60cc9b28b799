"""``embcompat doctor``: what is wrong with a gallery."""

from embcompat.cli.doctor.command import doctor

__all__ = ["doctor"]
