"""Where galleries of vectors live."""
