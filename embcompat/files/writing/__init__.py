"""Files that are written piece by piece and appear only when they are complete."""
