"""The target side is another table."""
