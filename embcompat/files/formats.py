"""The format of a file, by its ending."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from embcompat.errors import FileFormatError, InputError
from embcompat.files.objects import Location, ObjectPath
from embcompat.files.patterns import is_folder

Format = Literal["parquet", "arrow", "npy", "npz", "jsonl", "csv", "hdf5", "fvecs", "fbin", "folder"]

ENDINGS: Final[dict[str, Format]] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".npy": "npy",
    ".npz": "npz",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".fvecs": "fvecs",
    ".fbin": "fbin",
}
"""Ending in lower case → format; text formats may end in ``.gz`` besides."""

_COMPRESSED: Final = ("jsonl", "csv")
_PICKLES: Final = (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".bin")
_KNOWN: Final = ", ".join(ENDINGS)


def ending_of(path: Location) -> str:
    """Return the ending in lower case; the one before ``.gz`` where a file is compressed.

    Example:
        >>> ending_of(Path("Docs.CSV.gz"))
        '.csv'
    """
    ending = path.suffix.lower()
    return Path(path.stem).suffix.lower() if ending == ".gz" else ending


def format_of(path: Location) -> Format:
    """Return the format of a file of vectors, or ``folder`` for several files.

    Raises:
        FileFormatError: If there is nothing at the path.
        InputError: If the format is not supported; the message lists the endings that are.
    """
    if is_folder(path):
        return "folder"
    if not path.exists():
        raise FileFormatError(f"{path} does not exist.")
    if path.suffix.lower() in _PICKLES:
        raise InputError(
            f"{path} may be a pickle, which can run any code when it is read, so it is never opened. In a session "
            "that trusts it, save the array instead:\n"
            "    import numpy, pickle\n"
            f"    vectors = pickle.load(open({path.name!r}, 'rb'))\n"
            f"    numpy.save({path.stem + '.npy'!r}, vectors)"
        )
    kind = ENDINGS.get(ending_of(path))
    if kind is None or (path.suffix.lower() == ".gz" and kind not in _COMPRESSED):
        raise InputError(
            f"a file of vectors must end in one of {_KNOWN} (.json, .jsonl, .ndjson, .csv and .tsv also with .gz), "
            f"or be a folder of Parquet files or a saved Hugging Face dataset. Got {path}."
        )
    if isinstance(path, ObjectPath) and kind != "parquet":
        raise InputError(f"in an object store, only Parquet files are read. Copy {path} to this machine first.")
    return kind
