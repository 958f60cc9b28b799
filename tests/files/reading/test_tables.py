"""Odd columns and dialects: each is either read rightly, or refused in words; nothing is dropped or relabelled."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import datasets
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from embcompat.embeddings import Embeddings
from embcompat.errors import EmbcompatError

VECTORS = np.array([[0.5, -1.0], [0.25, 2.0], [3.0, 0.125]], dtype=np.float32)
ROWS = VECTORS.tolist()
IDS = ["a", "b", "c"]


def load(path: Path, **options: Any) -> Embeddings:
    return Embeddings.load(path, space="ada@2", **options)


def written(folder: Path, table: pa.Table) -> Path:
    """Write a table as Arrow, which has every type."""
    with pa.ipc.new_file(folder / "x.arrow", table.schema) as writer:
        writer.write_table(table)
    return folder / "x.arrow"


VECTOR_COLUMNS = {
    "decimals": pa.array([[Decimal(str(number)) for number in row] for row in ROWS]),
    "a dictionary of strings": pa.array([json.dumps(row) for row in ROWS]).dictionary_encode(),
    "list views": pa.array(ROWS, pa.list_view(pa.float32())),
    "large lists": pa.array(ROWS, pa.large_list(pa.float64())),
    "tensors": pa.FixedShapeTensorArray.from_numpy_ndarray(VECTORS),
    "half precision": pa.array(list(VECTORS.astype(np.float16)), pa.list_(pa.float16())),
}


@pytest.mark.parametrize("column", VECTOR_COLUMNS.values(), ids=VECTOR_COLUMNS)
def test_vectors_in_any_encoding(tmp_path: Path, column: pa.Array) -> None:
    path = written(tmp_path, pa.table({"id": IDS, "vector": column}))
    np.testing.assert_array_equal(load(path).vectors, VECTORS)


BAD_VECTORS = {
    r"column vector must hold a vector in every row\. Row 1 is missing": [ROWS[0], None, ROWS[2]],
    r"column vector must not hold missing numbers\. Row 0 does": [[1.0, None], *ROWS[1:]],
    r"x.arrow: column vector must be finite\. Row 2 holds NaN or infinity": [*ROWS[:2], [1.0, float("inf")]],
    r"x.arrow: column vector must not be zero: .* Row 1 is all zeros": [ROWS[0], [0.0, 0.0], ROWS[2]],
    r"column vector must hold vectors of length 2\. Row 1 has length 1": [ROWS[0], [1.0], ROWS[2]],
    r"must hold at least one vector, so that its dimension is known": pa.array([[], [], []], pa.list_(pa.float32())),
    r"must be a list of floats\. Got list<item: list<item: double>>": [[row] for row in ROWS],
    r"must be a list of floats\. Got struct": [{"values": row} for row in ROWS],
    r"must be a list of floats\. Got null": pa.nulls(3),
    r"must be a list of floats\. Got list<item: string>": [[str(number) for number in row] for row in ROWS],
}


@pytest.mark.parametrize(("match", "column"), BAD_VECTORS.items(), ids=BAD_VECTORS)
def test_what_is_no_vector_is_named(tmp_path: Path, match: str, column: Any) -> None:
    with pytest.raises(EmbcompatError, match=match):
        load(written(tmp_path, pa.table({"id": IDS, "vector": column})))


def test_ids_labels_and_texts_in_any_encoding(tmp_path: Path) -> None:
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array(["x", "y"]))
    words = pa.array(["t", "t", "u"]).dictionary_encode()
    columns = {"id": pa.array(IDS).dictionary_encode(), "vector": ROWS, "label": runs, "text": words}
    one = load(written(tmp_path, pa.table(columns)))
    assert one.labels is not None
    assert one.texts is not None
    assert (one.ids.tolist(), one.labels.tolist(), one.texts.tolist()) == (IDS, ["x", "x", "y"], ["t", "t", "u"])


BAD_IDS = {
    r"column id must be unique\. '1' is in rows 0 and 1": [1, 1, 2],
    r"column id must hold a string or an integer\. Row 0 is 1\.5": [1.5, 2.0, 3.0],
    r"column id must hold a value in every row\. Row 1 has none": ["a", None, "b"],
    r"column id must hold a string or an integer\. Got list": [[1], [2], [3]],
}


@pytest.mark.parametrize(("match", "column"), BAD_IDS.items(), ids=BAD_IDS)
def test_what_is_no_id_is_named(tmp_path: Path, match: str, column: Any) -> None:
    with pytest.raises(EmbcompatError, match=match):
        load(written(tmp_path, pa.table({"id": column, "vector": ROWS})))


def test_whole_floats_are_integers_and_plural_lists_are_neither_ids_nor_labels(tmp_path: Path) -> None:
    tokens = [[1, 2], [3], [4]]
    columns = {"id": [1.0, 2.0, 3.0], "ids": tokens, "labels": tokens, "vector": ROWS}
    one = load(written(tmp_path, pa.table(columns)))
    assert (one.ids.tolist(), one.labels) == (["1", "2", "3"], None)
    np.savez(tmp_path / "x.npz", embeddings=VECTORS, ids=np.array(IDS), labels=np.array([7, 7, 8]))
    two = load(tmp_path / "x.npz")
    assert two.labels is not None
    assert (two.ids.tolist(), two.labels.tolist(), two.row_numbers) == (IDS, ["7", "7", "8"], False)


LINES = "id,vector\n" + "".join(f'{name},"{row}"\n' for name, row in zip(IDS, ROWS, strict=True))
GOOD_TEXTS = {
    "bom.csv": b"\xef\xbb\xbf" + LINES.encode(),
    "crlf.csv": LINES.replace("\n", "\r\n").encode(),
    "pipes.csv": LINES.replace(",", "|", 1).replace(',"', '|"').encode(),
    "packed.csv.gz": gzip.compress(LINES.encode()),
    "bom.jsonl.gz": gzip.compress(
        b"\xef\xbb\xbf"
        + "\r\n".join(json.dumps({"id": i, "vector": v}) for i, v in zip(IDS, ROWS, strict=True)).encode()
    ),
}


@pytest.mark.parametrize("name", GOOD_TEXTS)
def test_texts_in_any_dialect(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(GOOD_TEXTS[name])
    one = load(tmp_path / name)
    assert one.ids.tolist() == IDS
    np.testing.assert_array_equal(one.vectors, VECTORS)


BAD_TEXTS = {
    "decimal-commas.csv": ("id;vector\na;0,5|1,5\n", r"must separate numbers in one way\. Row 0 also has commas"),
    "mac.csv": (LINES.replace("\n", "\r"), r"must end its lines with .* Got a bare"),
    "quotes.csv": (LINES.replace('"', "'"), r"row 0 must have 2 fields, as the header has\. Got 3"),
    "utf16.csv": (LINES.encode("utf-16"), r"must be UTF-8 text"),
    "twice.jsonl": (
        '{"id": "a", "id": "b", "vector": [1, 2]}',
        r"row 0 must name each field once\. It holds 'id' twice",
    ),
    "types.jsonl": (
        '{"id": "1", "vector": [1, 2]}\n{"id": 1, "vector": [2, 1]}',
        r"id must be unique\. '1' is in rows",
    ),
    "pretty.json": ('{\n "id": "a"\n}', r"row 0 is not JSON: .* A file holds one object per line, or one list"),
    "cut.jsonl": ('{"id": "a", "vector": [1, 2]}\n{"id": "b", "vec', r"row 1 is not JSON"),
}


@pytest.mark.parametrize("name", BAD_TEXTS)
def test_texts_that_cannot_be_told_are_refused(tmp_path: Path, name: str) -> None:
    text, match = BAD_TEXTS[name]
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(EmbcompatError, match=match):
        load(tmp_path / name)


def test_a_folder_of_spark_is_one_table(tmp_path: Path) -> None:
    table = pa.table({"id": IDS, "vector": ROWS})
    folder = tmp_path / "gallery.parquet"
    folder.mkdir()
    pq.write_table(table.slice(0, 2), folder / "part-0.parquet")
    pq.write_table(table.slice(2), folder / "part-1.parquet")
    for name in ("_SUCCESS", ".part-0.parquet.crc", "._SUCCESS.crc"):
        (folder / name).write_bytes(b"")
    pq.write_metadata(table.schema, folder / "_metadata")
    assert load(folder).ids.tolist() == IDS
    pq.write_table(table, folder / "part-2.parquet")
    with pytest.raises(EmbcompatError, match=r"column id must be unique\. 'a' is in rows 0 and 3"):
        load(folder)


def frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"id": IDS, "embedding": ROWS} | columns)


def test_frames_of_any_library() -> None:
    plain = frame()
    with duckdb.connect() as connection:
        connection.register("plain", plain)
        relation = connection.sql("SELECT * FROM plain")
        results = [
            Embeddings.from_arrow(relation, space="ada@2"),
            Embeddings.from_arrow(pl.from_pandas(plain), space="ada@2"),
            Embeddings.from_pandas(frame(embedding=list(torch.tensor(VECTORS).bfloat16())), space="ada@2"),
            Embeddings.from_dataset(datasets.Dataset.from_pandas(plain).with_format("torch"), space="ada@2"),
        ]
    for embeddings in results:
        assert embeddings.ids.tolist() == IDS
        np.testing.assert_array_equal(embeddings.vectors, VECTORS)


BAD_FRAMES: list[tuple[Callable[[], Any], str]] = [
    (lambda: Embeddings.from_pandas(ROWS), "frame must be a pandas data frame. Got list"),
    (lambda: Embeddings.from_pandas(pl.DataFrame(frame())), "must be a pandas data frame. Got DataFrame. Others have"),
    (lambda: Embeddings.from_arrow(ROWS), "table must be one of Arrow, polars or DuckDB. Got list"),
    (lambda: Embeddings.from_dataset(ROWS), "dataset must be a Hugging Face dataset. Got list"),  # type: ignore[arg-type]
    (lambda: Embeddings.from_pandas(frame(id=[1, "2", 3])), r"one type in each column.* id .* with astype\(str\)"),
    (
        lambda: Embeddings.from_pandas(frame(user=1).rename(columns={"id": "page"}).set_index(["page", "user"])),
        "Its index has the levels page, user",
    ),
]


@pytest.mark.parametrize(("take", "match"), BAD_FRAMES, ids=[match for _, match in BAD_FRAMES])
def test_what_is_no_frame_is_named(take: Callable[[], Any], match: str) -> None:
    with pytest.raises(EmbcompatError, match=match):
        take()


def test_ids_and_labels_of_several_types_become_strings(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", VECTORS)
    assert load(tmp_path / "x.npy", ids=[1, "b", 3]).ids.tolist() == ["1", "b", "3"]
    (tmp_path / "labels.json").write_text('["x", 2, "y"]')
    labels = load(tmp_path / "x.npy", labels=tmp_path / "labels.json").labels
    assert labels is not None
    assert labels.tolist() == ["x", "2", "y"]
    for text, match in (('{"0": "x"}', "must hold a JSON list"), ('["x", ', "is not JSON")):
        (tmp_path / "labels.json").write_text(text)
        with pytest.raises(EmbcompatError, match=match):
            load(tmp_path / "x.npy", labels=tmp_path / "labels.json")
    np.save(tmp_path / "none.npy", VECTORS[:, :0])
    with pytest.raises(EmbcompatError, match=r"must hold floats of shape \(n, dim\)\. Got float32 of shape \(3, 0\)"):
        load(tmp_path / "none.npy")
