"""Files of vectors: the one room that knows their formats; names load when they are first used (most load pyarrow)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embcompat.files.columns import Columns
    from embcompat.files.reading.opening import file_identity, open_vectors
    from embcompat.files.reading.parquet import read_space
    from embcompat.files.reading.streams import Block, VectorFile
    from embcompat.files.validation import validate_strings, validate_vectors
    from embcompat.files.writing.atomic import atomic_path

_HOMES = {
    "embcompat.files.columns": ("Columns",),
    "embcompat.files.reading.opening": ("file_identity", "open_vectors"),
    "embcompat.files.reading.parquet": ("read_space",),
    "embcompat.files.reading.streams": ("Block", "VectorFile"),
    "embcompat.files.validation": ("validate_strings", "validate_vectors"),
    "embcompat.files.writing.atomic": ("atomic_path",),
}

__all__ = [
    "Block",
    "Columns",
    "VectorFile",
    "atomic_path",
    "file_identity",
    "open_vectors",
    "read_space",
    "validate_strings",
    "validate_vectors",
]


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
