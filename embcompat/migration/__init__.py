"""Converting stored galleries: files to files, and stores that stay in service meanwhile."""

from embcompat.migration.convert import ConversionReport, convert_file

__all__ = ["ConversionReport", "convert_file"]
