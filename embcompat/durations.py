"""Durations as text."""

from __future__ import annotations


def format_duration(seconds: float) -> str:
    """Write a duration in one unit or two, as suits its length.

    Example:
        >>> [format_duration(seconds) for seconds in (0.042, 12.34, 41, 754, 2_460, 7_380, 360_000)]
        ['42 ms', '12.3 s', '41 s', '12 min 34 s', '41 min', '2 h 3 min', '100 h']
    """
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    large, small, units = (60, 1, ("min", "s")) if seconds < 3_600 else (3_600, 60, ("h", "min"))
    whole, part = divmod(round(seconds / small), large // small)
    return f"{whole:,} {units[0]}" + (f" {part} {units[1]}" if part else "")
