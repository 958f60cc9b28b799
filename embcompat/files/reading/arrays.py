"""Files of several arrays, and the binary formats of nearest-neighbour benchmarks. Imports pyarrow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from embcompat.errors import FileFormatError, MissingExtraError
from embcompat.files.names import VECTOR_COLUMNS, pick_column
from embcompat.files.reading.sources import ArraySource


def open_npz(path: Path, vector: str | None) -> ArraySource:
    """Open a ``.npz`` file: one array of vectors, and arrays of as many ids, labels and the like.

    Raises:
        FileFormatError: If it is damaged, holds Python objects, or leaves open which array holds the vectors.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError) as error:
        raise FileFormatError(
            f"{path} is not a complete .npz file of numbers and strings: {error}. "
            "Arrays of objects are never opened; save ids with ids.astype(str)."
        ) from error
    return _matching(path, arrays, vector)


def open_hdf5(path: Path, vector: str | None) -> ArraySource:
    """Open an HDF5 file: one data set of vectors, and data sets of as many ids, labels and the like.

    Raises:
        MissingExtraError: If h5py is not installed.
        FileFormatError: If it is damaged, or leaves open which data set holds the vectors.
    """
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError("h5py", "embcompat[hdf5]", "An HDF5 file") from error
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise FileFormatError(f"{path} is not a complete HDF5 file: {error}") from error
    arrays: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim in (1, 2):
            arrays[name] = item

    file.visititems(visit)
    return _matching(path, arrays, vector)


def open_fvecs(path: Path) -> ArraySource:
    """Open an ``.fvecs`` file: before each row of float32 its length as int32 (Jégou et al., TEXMEX corpus, 2010).

    Raises:
        FileFormatError: If it is not of this form.
    """
    numbers = _map(path, np.dtype("<i4"))
    dim = int(numbers[0]) if len(numbers) else 0
    if dim < 1 or len(numbers) % (dim + 1):
        raise FileFormatError(f"{path} is not a complete .fvecs file: rows of {dim} numbers do not fill it.")
    table = numbers.reshape(-1, dim + 1)
    if (table[:, 0] != dim).any():
        row = int((table[:, 0] != dim).argmax())
        raise FileFormatError(f"{path} must hold vectors of one length. Row {row} has {table[row, 0]}, row 0 {dim}.")
    return ArraySource(path, {"vector": table.view("<f4")[:, 1:]})


def open_fbin(path: Path) -> ArraySource:
    """Open an ``.fbin`` file: rows and columns as uint32, then float32 (Simhadri et al., Big ANN Benchmarks, 2022).

    Raises:
        FileFormatError: If it is not of this form.
    """
    numbers = _map(path, np.dtype("<u4"))
    rows, dim = (int(number) for number in numbers[:2]) if len(numbers) >= 2 else (0, 0)
    if dim < 1 or len(numbers) != 2 + rows * dim:
        raise FileFormatError(f"{path} is not a complete .fbin file: {rows} rows of {dim} numbers do not fill it.")
    return ArraySource(path, {"vector": numbers[2:].view("<f4").reshape(rows, dim)})


def _map(path: Path, kind: np.dtype[Any]) -> np.ndarray[Any, Any]:
    if path.stat().st_size % kind.itemsize or not path.stat().st_size:
        raise FileFormatError(f"{path} is not a complete file of 4-byte numbers. Got {path.stat().st_size} bytes.")
    return np.memmap(path, dtype=kind, mode="r")


def _matching(path: Path, arrays: Mapping[str, Any], vector: str | None) -> ArraySource:
    """Take the array of vectors and every array with as many rows."""
    name = pick_column(list(arrays), vector, VECTOR_COLUMNS, where=str(path), option="vector_column=…")
    candidates = [key for key, array in arrays.items() if len(array.shape) == 2 and array.dtype.kind in "fiu"]
    if name is None and len(candidates) != 1:
        listed = ", ".join(f"{key} {array.shape}" for key, array in arrays.items()) or "none"
        raise FileFormatError(f"{path} must hold one array of vectors, or say which (vector_column=…). Got {listed}.")
    name = name or candidates[0]
    rows = len(arrays[name])
    return ArraySource(
        path,
        {
            key: array
            for key, array in arrays.items()
            if key == name or (len(array.shape) <= 2 and array.shape[:1] == (rows,))
        },
    )
