"""Text-aware conversion: the old vector and the words of its item."""
