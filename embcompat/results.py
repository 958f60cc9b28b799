"""What every result carries as JSON."""

SCHEMA_VERSION = 1
"""Version of the JSON that commands print; names are added within a version, never taken away."""
