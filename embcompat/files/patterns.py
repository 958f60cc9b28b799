"""Patterns of file names: ``old/*.parquet``, ``s3://bucket/year=*/**/*.parquet``."""

from __future__ import annotations

import re

from embcompat.files.objects import Location, ObjectPath

_SIGNS = re.compile(r"[*?\[]")


def is_pattern(path: Location) -> bool:
    """Return whether a path is a pattern: it has ``*``, ``?`` or ``[`` in it, and no file has exactly this name."""
    return _SIGNS.search(_text(path)) is not None and not path.exists()


def is_folder(path: Location) -> bool:
    """Return whether a path names several files: a folder or a pattern."""
    return path.is_dir() or is_pattern(path)


def folder_of(path: Location) -> Location:
    """Return the folder in which all files of a pattern lie; any other path as it is.

    Example:
        >>> from pathlib import Path
        >>> folder_of(Path("old/year=*/part-*.parquet"))
        PosixPath('old')
    """
    if not is_pattern(path):
        return path
    while _SIGNS.search(_text(path)):
        path = path.parent
    return path


def matches(path: Location, pattern: Location) -> bool:
    """Return whether a pattern fits a path: ``*`` within one folder, ``**`` across folders.

    Example:
        >>> from pathlib import Path
        >>> [matches(Path(name), Path("a/*.pq")) for name in ("a/b.pq", "a/b/c.pq")]
        [True, False]
        >>> [matches(Path(name), Path("a/**/*.pq")) for name in ("a/b.pq", "a/b/c.pq")]
        [True, True]
    """
    return re.fullmatch(_expression(_text(pattern)), _text(path)) is not None


def _expression(pattern: str) -> str:
    pieces = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]*\])", pattern)
    signs = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(
        signs.get(piece)
        or ("[" + piece[1:].replace("!", "^", 1) if piece[:1] == "[" and len(piece) > 2 else re.escape(piece))
        for piece in pieces
    )


def _text(path: Location) -> str:
    return path.key if isinstance(path, ObjectPath) else path.as_posix()
