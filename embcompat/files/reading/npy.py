"""``.npy`` and ``.npz`` files, HDF5, fvecs and fbin: arrays of vectors. Imports pyarrow only where rows are read."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from embcompat.errors import FileFormatError

if TYPE_CHECKING:
    import pyarrow as pa


def read_npy(path: Path) -> NDArray[Any]:
    """Open a .npy file as a read-only memory map.

    Raises:
        FileFormatError: If it is missing, truncated, or holds Python objects.
    """
    if not path.exists():
        raise FileFormatError(f"{path} does not exist.")
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise FileFormatError(f"{path} is not a complete .npy file of numbers: {error}") from error


def read_vectors(path: Path) -> NDArray[Any]:
    """Open a .npy file of vectors as a read-only memory map (n, dim).

    Raises:
        FileFormatError: If it does not hold rows of numbers.
    """
    array = read_npy(path)
    if array.ndim != 2 or not array.shape[1] or array.dtype.kind not in "fiu":
        raise FileFormatError(f"{path} must hold floats of shape (n, dim). Got {array.dtype} of shape {array.shape}.")
    return array


@final
class NpySource:
    """A .npy file that holds an array (n, dim): one column, ``vector``."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        self.path = path
        self._array = read_vectors(path)
        self.rows = len(self._array)
        kind = pa.from_numpy_dtype(self._array.dtype.newbyteorder("="))
        self.schema: pa.Schema = pa.schema([pa.field("vector", pa.list_(kind, self._array.shape[1]))])

    def batches(self, start: int, size: int, columns: Sequence[str]) -> Generator[pa.RecordBatch]:
        """Read from row ``start`` to the end."""
        import pyarrow as pa

        from embcompat.files.reading.sources import array_to_arrow

        dim = self._array.shape[1]
        with self.path.open("rb") as stream:
            stream.seek(_header_bytes(stream.read(12)) + start * dim * self._array.itemsize)
            for first in range(start, self.rows, size):
                count = min(size, self.rows - first)
                if self._array.flags.c_contiguous:  # read, not mapped: mapped pages would pile up in memory
                    vectors = np.fromfile(stream, self._array.dtype, count * dim).reshape(count, dim)
                else:
                    vectors = self._array[first : first + count]
                parts = [array_to_arrow(vectors, str(self.path), "vector")] * len(columns)
                yield pa.RecordBatch.from_arrays(parts, names=list(columns))


def _header_bytes(head: bytes) -> int:
    """Return where the array starts, from the first 12 bytes (NumPy, ``numpy.lib.format``)."""
    if head[6] == 1:
        return 10 + int.from_bytes(head[8:10], "little")
    return 12 + int.from_bytes(head[8:12], "little")
