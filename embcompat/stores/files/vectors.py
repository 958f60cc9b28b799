"""Parquet and .npy files as galleries; see `embcompat.stores.files.gallery` for how a file is migrated.

The vectors of both sides are held in memory. `embcompat.migration.convert_file` needs none to speak of, and is the way
to convert a file that nothing reads meanwhile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embcompat.errors import FileFormatError, InputError, StoreError
from embcompat.files.columns import Columns, find_roles, strings_from_arrow
from embcompat.files.formats import ENDINGS, ending_of
from embcompat.files.reading.npy import read_npy
from embcompat.files.reading.parquet import ParquetSource, open_parquet, read_space
from embcompat.files.reading.streams import VectorFile
from embcompat.files.vectors import is_vector_type, vectors_from_arrow
from embcompat.files.writing.pieces import ParquetFormat
from embcompat.spaces import Similarity, SpaceVersion
from embcompat.stores.files.gallery import FileGallery
from embcompat.stores.files.layouts import Contents, FileLayout, require_unique
from embcompat.stores.url import StoreUrl
from embcompat.stores.values import Job, Obstacle

_PIECE_ROWS = 65_536


def open_gallery(address: StoreUrl) -> FileGallery:
    """Open ``old.parquet``, ``file:///folder/old.parquet#embedding?key=docid`` or ``vectors.npy``.

    Raises:
        InputError: If the file is not there.
        FileFormatError: If it does not hold vectors.
    """
    path = address.path
    if not path.is_file():
        raise InputError(f"there is no file {path}.")
    columns = Columns(id=address.option("key", "")[0] or None, vector=".".join(address.names) or None)
    layout: FileLayout
    if ENDINGS.get(ending_of(path)) == "parquet":
        layout = ParquetLayout(columns)
    elif columns == Columns():
        layout = NpyLayout()
    else:
        raise InputError(f"a .npy file has no columns to name after #. Got {address.public}.")
    return FileGallery(address.public, path, layout)


@final
class ParquetLayout:
    """Parquet files with a column of ids, one of vectors, and any others, which are carried over.

    Args:
        columns: Which columns are which, where their names do not tell.
    """

    def __init__(self, columns: Columns) -> None:
        self._columns = columns

    def dim(self, path: Path) -> int:
        """Return the length of the vectors."""
        source = ParquetSource(path)
        self._names(source.schema, path)
        return VectorFile(source, find_roles(source.schema, self._columns, where=str(path)), self.space(path)).dim

    def _names(self, schema: pa.Schema, path: Path | str) -> tuple[str, str]:
        """Return the columns of the ids and of the vectors.

        Raises:
            FileFormatError: If there are no ids, or the vectors are no lists in one column.
        """
        roles = find_roles(schema, self._columns, where=str(path))
        if roles.id is None or len(roles.vectors) > 1 or not is_vector_type(schema.field(roles.vectors[0]).type):
            raise FileFormatError(
                f"{path} must have a column of ids and one of vectors, as lists of numbers, to be migrated. Got "
                f"{', '.join(schema.names) or 'none'}. Columns of other names are named in the address: "
                "file:///folder/vectors.parquet#embedding?key=docid."
            )
        return roles.id, roles.vectors[0]

    def space(self, path: Path) -> SpaceVersion | None:
        """Return the space that the schema metadata names."""
        return read_space(path)

    def index_kind(self, contents: Contents) -> str | None:  # noqa: ARG002
        """Return None: a file has no index."""
        return None

    def metric(self, path: Path, job: Job) -> Similarity | None:  # noqa: ARG002
        """Return None: the application chooses it."""
        return None

    def read(self, path: Path, *, mapped: bool = False) -> Contents:  # noqa: ARG002
        """Read the file; each key is the digest of an id."""
        dim = self.dim(path)
        table = open_parquet(path).read()
        key, vector = self._names(table.schema, path)
        column = pa.concat_arrays(table.column(vector).chunks or [pa.array([], table.schema.field(vector).type)])
        vectors = vectors_from_arrow(column, dim, where=f"{path}: column {vector}")
        names = strings_from_arrow(table.column(key), where=f"{path}: column {key}")
        keys = self.keys(names)
        require_unique(keys, where=str(path))
        kind = _numbers(table.schema.field(vector).type)
        numbers = np.dtype(kind.to_pandas_dtype())
        objects = np.array(names, dtype=object)
        return Contents(keys, vectors, positional=False, names=objects, numbers=numbers, whole=table)

    def texts(self, contents: Contents, column: str) -> NDArray[np.object_] | None:
        """Return the column as texts."""
        table: pa.Table = contents.whole
        if column not in table.column_names:
            return None
        return np.array([text or "" for text in table.column(column).cast(pa.string()).to_pylist()], dtype=object)

    def keys(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return 64-bit digests of the ids."""
        digests = b"".join([hashlib.blake2b(text.encode(), digest_size=8).digest() for text in ids])
        return np.frombuffer(digests, dtype="<i8").astype(np.int64)

    def obstacles(self, job: Job, contents: Contents) -> list[Obstacle]:  # noqa: ARG002
        """Return that the new vectors are float32, where the old ones are no floats."""
        table: pa.Table = contents.whole
        _, vector = self._names(table.schema, "the file")
        kind = table.schema.field(vector).type.value_type
        if pa.types.is_floating(kind):
            return []
        return [Obstacle(f"Column {vector} holds {kind}; the converted vectors are float.", acceptable=True)]

    def write(
        self, path: Path, like: Contents, places: NDArray[np.intp], vectors: NDArray[np.float32], job: Job
    ) -> None:
        """Write the rows with all their other columns."""
        table: pa.Table = like.whole
        provenance: dict[str, Any] = {"artifact": job.artifact_id, "source_space": job.source.id}
        _, vector = self._names(table.schema, path)
        roles = find_roles(table.schema, self._columns, where=str(path))
        schema = table.schema.with_metadata({**(table.schema.metadata or {}), **roles.metadata()})
        numbers = _numbers(table.schema.field(vector).type)
        layout = ParquetFormat(schema, job.target, provenance, vector=vector, numbers=numbers)
        others = table.drop_columns(vector).take(pa.array(places))
        ends = []
        with path.open("wb") as stream:
            for start in range(0, max(1, len(places)), _PIECE_ROWS):
                rows = slice(start, start + _PIECE_ROWS)
                stream.write(layout.encode(vectors[rows], others.slice(start, _PIECE_ROWS)))
                ends.append(stream.tell())
        with path.open("ab") as stream:
            stream.write(layout.tail(path, ends))


@final
class NpyLayout:
    """.npy files of shape (n, dim); the ids are row numbers, so no row may be left out."""

    def dim(self, path: Path) -> int:
        """Return the length of the vectors."""
        array = read_npy(path)
        if array.ndim != 2 or array.dtype.kind != "f":
            raise FileFormatError(f"{path} must hold floats of shape (n, dim). Got {array.dtype} of {array.shape}.")
        return int(array.shape[1])

    def space(self, path: Path) -> SpaceVersion | None:  # noqa: ARG002
        """Return None: the file says nothing."""
        return None

    def index_kind(self, contents: Contents) -> str | None:  # noqa: ARG002
        """Return None: a file has no index."""
        return None

    def metric(self, path: Path, job: Job) -> Similarity | None:  # noqa: ARG002
        """Return None: the application chooses it."""
        return None

    def read(self, path: Path, *, mapped: bool = False) -> Contents:
        """Read the file."""
        stored = read_npy(path)
        vectors = (np.asarray if mapped else np.array)(stored, dtype=np.float32)
        keys = np.arange(len(vectors), dtype=np.int64)
        return Contents(keys, vectors, positional=True, numbers=stored.dtype)

    def texts(self, contents: Contents, column: str) -> None:
        """Return None: the file holds no texts."""

    def keys(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the ids as numbers."""
        try:
            return np.array(list(map(int, ids)), dtype=np.int64)
        except ValueError as error:
            raise StoreError(f"an id of a .npy file is a row number: {error}") from error

    def obstacles(self, job: Job, contents: Contents) -> list[Obstacle]:  # noqa: ARG002
        """Return nothing: every space can be held."""
        return []

    def write(
        self,
        path: Path,
        like: Contents,
        places: NDArray[np.intp],  # noqa: ARG002
        vectors: NDArray[np.float32],
        job: Job,  # noqa: ARG002
    ) -> None:
        """Write the array in the type of the old one."""
        with path.open("wb") as stream:
            np.save(stream, vectors.astype(like.numbers, copy=False))


def _numbers(kind: pa.DataType) -> pa.DataType:
    """Return the type of the numbers of new vectors: that of the old ones if those are floats."""
    return kind.value_type if pa.types.is_floating(kind.value_type) else pa.float32()
