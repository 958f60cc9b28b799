from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embcompat.errors import FileFormatError
from embcompat.files.writing.footer import footer_length, join_footers


def make_table(rows: int, seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(rng.standard_normal(rows * 4).astype(np.float32)), 4)
    ids = pa.array([f"{seed}-{row}" for row in range(rows)], pa.string())
    labels = pa.array([["a", "b", None][row % 3] for row in range(rows)], pa.string())
    flags = pa.array([row % 2 == 0 for row in range(rows)], pa.bool_())
    return pa.table({"id": ids, "vector": vectors, "label": labels, "flag": flags, "size": np.arange(rows)})


def encode(table: pa.Table, **options: object) -> bytes:
    stream = io.BytesIO()
    pq.write_table(table, stream, **options)
    return stream.getvalue()


def join(files: list[bytes]) -> bytes:
    whole, parts = b"", []
    for data in files:
        length = footer_length(data[-8:])
        parts.append((data[-8 - length : -8], len(whole)))
        whole += data
    return whole + join_footers(parts)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"row_group_size": 7, "use_dictionary": ["label"], "compression": "zstd"},
        {"row_group_size": 7, "write_page_index": True, "data_page_version": "2.0", "compression": "none"},
    ],
)
def test_joined_files_read_as_one_table(options: dict[str, object]) -> None:
    tables = [make_table(rows, seed) for seed, rows in enumerate((20, 1, 33))]
    joined = pq.ParquetFile(pa.BufferReader(join([encode(table, **options) for table in tables])))
    assert joined.read().equals(pa.concat_tables(tables))
    assert joined.metadata.num_rows == 54


def test_one_file_keeps_what_its_footer_says() -> None:
    data = encode(make_table(20, 0).replace_schema_metadata({"key": "value"}), row_group_size=6)
    original, after = (pq.ParquetFile(pa.BufferReader(whole)) for whole in (data, join([data])))
    assert after.schema_arrow.equals(original.schema_arrow, check_metadata=True)
    for index in range(original.num_row_groups):
        old, new = original.metadata.row_group(index), after.metadata.row_group(index)
        assert [old.column(column).to_dict() for column in range(5)] == [
            new.column(column).to_dict() for column in range(5)
        ]


def test_more_row_groups_than_a_short_list_holds() -> None:
    tables = [make_table(2, seed) for seed in range(40)]
    assert pq.read_table(pa.BufferReader(join([encode(table) for table in tables]))).equals(pa.concat_tables(tables))


def test_files_without_rows_join() -> None:
    tables = [make_table(0, 0), make_table(3, 1), make_table(0, 2)]
    assert pq.read_table(pa.BufferReader(join([encode(table) for table in tables]))).num_rows == 3


def test_what_is_not_parquet_is_refused() -> None:
    with pytest.raises(FileFormatError, match=r"must end in b'PAR1'. Got b'abcd'"):
        footer_length(b"\0\0\0\0abcd")
