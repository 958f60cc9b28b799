"""The target side is another column of the same table."""
