"""How the pieces of a file that is written bit by bit are encoded, and how it ends. Imports pyarrow."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import JsonValue

from embcompat.errors import InputError
from embcompat.files.vectors import SPACE_KEY, vector_type, vectors_to_arrow
from embcompat.files.writing.footer import footer_length, join_footers
from embcompat.spaces import SpaceVersion

PROVENANCE_KEY = b"embcompat.provenance"
"""Schema-metadata key of a converted Parquet file's origin, as JSON."""

_SPARE_BYTES = 1 << 20
_FOREIGN_KEYS = (b"huggingface", b"pandas")  # they describe the old vectors


class PieceFormat(Protocol):
    """How the pieces of a file are encoded, and how it ends."""

    def head(self) -> bytes:
        """Return the first bytes of the file."""

    def encode(self, vectors: NDArray[np.float32], others: pa.Table | None) -> memoryview:
        """Encode rows: vectors (n, dim) and their other columns; called from several threads."""

    def tail(self, part: Path, ends: list[int]) -> bytes:
        """Return the last bytes of the file, given where each piece ends."""


@final
class ParquetFormat:
    """Parquet: each piece is a complete Parquet file of one row group; see `embcompat.files.writing.footer`.

    Args:
        schema: Schema of the file that is converted.
        space: Space of the vectors that are written.
        provenance: Their origin.
        vector: The column of vectors.
        numbers: Type of their numbers, a type of floats.
    """

    def __init__(
        self,
        schema: pa.Schema,
        space: SpaceVersion,
        provenance: Mapping[str, JsonValue],
        *,
        vector: str = "vector",
        numbers: pa.DataType = pa.float32(),  # noqa: B008 - a constant
    ) -> None:
        index = schema.get_field_index(vector)
        metadata = {key: value for key, value in (schema.metadata or {}).items() if key not in _FOREIGN_KEYS}
        metadata[SPACE_KEY] = space.to_json().encode()
        metadata[PROVENANCE_KEY] = json.dumps(provenance, sort_keys=True).encode()
        field = pa.field(vector, vector_type(space.dim, numbers))
        self.schema: pa.Schema = schema.set(index, field).with_metadata(metadata)
        self._index, self._numbers = index, numbers
        self._others = [name for name in schema.names if name != vector]

    def head(self) -> bytes:
        """Return nothing: each piece brings its own magic."""
        return b""

    def encode(self, vectors: NDArray[np.float32], others: pa.Table | None) -> memoryview:
        """Encode rows as a Parquet file in memory."""
        if others is None:
            raise InputError("rows of a Parquet file must have ids. Got vectors only.")
        columns = others.columns
        columns.insert(self._index, vectors_to_arrow(vectors, self._numbers))
        table = pa.Table.from_arrays(columns, schema=self.schema)
        try:
            buffer = pa.allocate_buffer(2 * others.nbytes + vectors.nbytes + vectors.nbytes // 16 + _SPARE_BYTES)
            sink = pa.FixedSizeBufferWriter(buffer)
            self._write(table, sink)
            return memoryview(buffer)[: sink.tell()]
        except OSError:  # other columns that take more room than in memory
            stream = pa.BufferOutputStream()
            self._write(table, stream)
            return memoryview(stream.getvalue())

    def _write(self, table: pa.Table, sink: pa.NativeFile) -> None:
        with pq.ParquetWriter(
            sink,
            self.schema,
            compression="none",
            use_dictionary=[name for name in self._others if name != "id"],
            write_statistics=self._others,
        ) as writer:
            writer.write_table(table, row_group_size=max(1, len(table)))

    def tail(self, part: Path, ends: list[int]) -> bytes:
        """Return one footer over all pieces."""
        footers = []
        with part.open("rb") as stream:
            for start, end in zip([0, *ends[:-1]], ends, strict=True):
                stream.seek(end - 8)
                length = footer_length(stream.read(8))
                stream.seek(end - 8 - length)
                footers.append((stream.read(length), start))
        return join_footers(footers)


@final
class NpyFormat:
    """.npy: a header for the whole array, then the rows.

    Args:
        rows: Number of rows that the file will have.
        dim: Length of each vector.
    """

    def __init__(self, rows: int, dim: int) -> None:
        self._shape = (rows, dim)

    def head(self) -> bytes:
        """Return the header."""
        stream = io.BytesIO()
        header = {"descr": "<f4", "fortran_order": False, "shape": self._shape}
        np.lib.format.write_array_header_1_0(stream, header)
        return stream.getvalue()

    def encode(self, vectors: NDArray[np.float32], others: pa.Table | None) -> memoryview:
        """Return the bytes of the rows."""
        if others is not None:
            raise InputError("a .npy file cannot hold ids and other columns. Write a .parquet file.")
        return memoryview(np.ascontiguousarray(vectors, dtype="<f4").reshape(-1).view(np.uint8).data)

    def tail(self, part: Path, ends: list[int]) -> bytes:  # noqa: ARG002
        """Return nothing: the header describes the whole array."""
        return b""
