"""Files as other libraries write them, each read without a word."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import datasets
import duckdb
import h5py
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from embcompat.embeddings import Embeddings
from embcompat.errors import FileFormatError, InputError

VECTORS = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
IDS = list(range(100, 107))
FRAME = pd.DataFrame({"docid": IDS, "embedding": list(VECTORS), "note": list("abcdefg")})


def pandas_columns(path: Path) -> Path:
    FRAME.to_parquet(path / "x.parquet")
    return path / "x.parquet"


def pandas_index(path: Path) -> Path:
    FRAME.set_index("docid").rename_axis(None)[["embedding"]].to_parquet(path / "x.PQ")
    return path / "x.PQ"


def pandas_csv_of_json(path: Path) -> Path:
    FRAME.assign(embedding=[json.dumps(row.tolist()) for row in VECTORS]).to_csv(path / "x.csv", index=False)
    return path / "x.csv"


def pandas_csv_of_columns(path: Path) -> Path:
    wide = pd.DataFrame(VECTORS, columns=[f"v{place}" for place in range(5)])
    wide.insert(0, "_id", IDS)
    wide.to_csv(path / "x.csv.gz", index=False, sep=";")
    return path / "x.csv.gz"


def tsv_of_numbers(path: Path) -> Path:
    rows = zip(IDS, VECTORS.tolist(), strict=True)
    lines = ["pid\tembedding", *(f"{identifier}\t{' '.join(map(repr, row))}" for identifier, row in rows)]
    (path / "x.tsv").write_text("\n".join(lines))
    return path / "x.tsv"


def jsonl(path: Path) -> Path:
    with gzip.open(path / "x.ndjson.gz", "wt") as stream:
        for identifier, row in zip(IDS, VECTORS.tolist(), strict=True):
            stream.write(json.dumps({"corpus-id": identifier, "values": row}) + "\n")
    return path / "x.ndjson.gz"


def json_array(path: Path) -> Path:
    rows = [{"id": i, "emb": row} for i, row in zip(IDS, VECTORS.tolist(), strict=True)]
    (path / "x.json").write_text(json.dumps(rows, indent=1))
    return path / "x.json"


def openai_batch(path: Path) -> Path:
    lines = []
    for identifier, row in zip(IDS, VECTORS, strict=True):
        vector = row.tolist() if identifier % 2 else base64.b64encode(row.tobytes()).decode()
        body = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": vector}]}
        answer = {"custom_id": str(identifier), "response": {"status_code": 200, "body": body}, "error": None}
        lines.append(json.dumps(answer))
    (path / "x.jsonl").write_text("\n".join(lines))
    return path / "x.jsonl"


def polars_array(path: Path) -> Path:
    frame = pl.DataFrame({"id": IDS, "vec": VECTORS}, schema={"id": pl.UInt32, "vec": pl.Array(pl.Float32, 5)})
    frame.write_parquet(path / "x.parquet")
    return path / "x.parquet"


def polars_ipc(path: Path) -> Path:
    pl.DataFrame({"id": IDS, "embedding": VECTORS.tolist()}).write_ipc(path / "x.arrow")
    return path / "x.arrow"


def duckdb_parquet(path: Path) -> Path:
    with duckdb.connect() as connection:
        connection.register("frame", FRAME)
        query = "SELECT docid, embedding::FLOAT[5] AS embedding FROM frame"
        connection.execute(f"COPY ({query}) TO '{path / 'x.parquet'}' (FORMAT parquet)")
    return path / "x.parquet"


def duckdb_partitions(path: Path) -> Path:
    with duckdb.connect() as connection:
        connection.register("frame", FRAME.assign(part=[0, 0, 0, 1, 1, 1, 1]))
        connection.execute(f"COPY frame TO '{path / 'parts'}' (FORMAT parquet, PARTITION_BY (part))")
    return path / "parts"


def feather(path: Path) -> Path:
    pyarrow.feather.write_feather(pa.Table.from_pandas(FRAME), str(path / "x.feather"))
    return path / "x.feather"


def saved_dataset(path: Path) -> Path:
    rows = {"_id": list(map(str, IDS)), "embeddings": VECTORS.tolist()}
    dataset = datasets.Dataset.from_dict(rows)
    dataset.info.description = "Embeddings of a corpus."
    dataset.save_to_disk(str(path / "saved"))
    return path / "saved"


def npz(path: Path) -> Path:
    np.savez(path / "x.npz", vectors=VECTORS, ids=np.array(IDS), id=np.array(IDS))
    return path / "x.npz"


def hdf5(path: Path) -> Path:
    with h5py.File(path / "x.h5", "w") as file:
        file["embeddings"], file["id"] = VECTORS, [str(identifier) for identifier in IDS]
    return path / "x.h5"


WRITERS: list[Callable[[Path], Path]] = [
    pandas_columns, pandas_index, pandas_csv_of_json, pandas_csv_of_columns, tsv_of_numbers, jsonl, json_array,
    openai_batch, polars_array, polars_ipc, duckdb_parquet, duckdb_partitions, feather, saved_dataset, npz, hdf5,
]  # fmt: skip


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_what_others_write_is_read(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    embeddings = Embeddings.load(write(tmp_path), space="ada@2")
    assert (embeddings.space.id, embeddings.space.dim, embeddings.space.normalized) == ("ada@2", 5, False)
    assert embeddings.ids.tolist() == [str(identifier) for identifier in IDS]
    np.testing.assert_allclose(embeddings.vectors, VECTORS, rtol=1e-6)
    assert not embeddings.row_numbers


def fvecs(path: Path) -> Path:
    lengths = np.full((7, 1), 5, "<i4")
    np.concatenate([lengths, VECTORS.view("<i4")], axis=1).tofile(path / "x.fvecs")
    return path / "x.fvecs"


def fbin(path: Path) -> Path:
    (path / "x.fbin").write_bytes(np.array([7, 5], "<u4").tobytes() + VECTORS.tobytes())
    return path / "x.fbin"


def npy(path: Path) -> Path:
    np.save(path / "x.npy", VECTORS.astype(">f8"))
    return path / "x.npy"


def savetxt(path: Path) -> Path:
    np.savetxt(path / "x.csv", VECTORS, delimiter=",")
    return path / "x.csv"


@pytest.mark.parametrize("write", [fvecs, fbin, npy, savetxt], ids=lambda write: write.__name__)
def test_files_without_ids_have_row_numbers_or_ids_from_a_file(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    path = write(tmp_path)
    numbered = Embeddings.load(path, space="ada@2")
    assert (numbered.row_numbers, numbered.ids.tolist()) == (True, [str(row) for row in range(7)])
    np.testing.assert_allclose(numbered.vectors, VECTORS, rtol=1e-6)
    numbered.save(tmp_path / "saved.parquet")
    assert Embeddings.load(tmp_path / "saved.parquet").row_numbers
    (tmp_path / "ids.txt").write_bytes(b"\xef\xbb\xbfa \r\nb\r\n c\r\nd\r\ne\r\nf\r\ng\xc2\x85h\r\n")
    np.save(tmp_path / "labels.npy", np.arange(7) // 2)
    named = Embeddings.load(path, space="ada@2", ids=tmp_path / "ids.txt", labels=tmp_path / "labels.npy")
    assert (named.row_numbers, named.ids.tolist()) == (False, ["a", "b", "c", "d", "e", "f", "g\x85h"])
    assert named.labels is not None
    assert named.labels.tolist() == ["0", "0", "1", "1", "2", "2", "3"]
    with pytest.raises(FileFormatError, match=r"ids must have one entry for each of the 7 rows .* Got 2"):
        Embeddings.load(path, space="ada@2", ids=["a", "b"])


def test_data_frames_and_tables_are_taken() -> None:
    for embeddings in (
        Embeddings.from_pandas(FRAME, space="ada@2"),
        Embeddings.from_arrow(pl.from_pandas(FRAME).to_arrow(), space="ada@2"),
    ):
        assert embeddings.ids.tolist() == [str(identifier) for identifier in IDS]
        np.testing.assert_array_equal(embeddings.vectors, VECTORS)


def test_what_cannot_be_told_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": VECTORS.tolist(), "b": VECTORS.tolist()}), tmp_path / "two.parquet")
    with pytest.raises(FileFormatError, match="several columns that could be the vectors: a, b"):
        Embeddings.load(tmp_path / "two.parquet", space="ada@2")
    assert len(Embeddings.load(tmp_path / "two.parquet", space="ada@2", vector_column="b")) == 7
    with pytest.raises(FileFormatError, match=r"has no column 'c' \(vector_column=…\). It has a, b"):
        Embeddings.load(tmp_path / "two.parquet", space="ada@2", vector_column="c")
    for name, match in (("x.pkl", r"numpy.save\('x.npy'"), ("x.doc", r"must end in one of \.parquet, \.pq")):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(InputError, match=match):
            Embeddings.load(tmp_path / name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="is a folder that holds no Parquet or Arrow files"):
        Embeddings.load(tmp_path / "empty")
    datasets.DatasetDict({"train": datasets.Dataset.from_dict({"id": ["a"]})}).save_to_disk(str(tmp_path / "splits"))
    with pytest.raises(InputError, match=r"holds several splits. Pass one of them: .*splits/train"):
        Embeddings.load(tmp_path / "splits")
    (tmp_path / "cut.csv").write_text('id,vector\n1,"[0.1 0.2 ... 0.9]"\n')
    with pytest.raises(FileFormatError, match="row 0 was shortened with"):
        Embeddings.load(tmp_path / "cut.csv", space="ada@2")


def test_a_failed_request_of_a_batch_is_named(tmp_path: Path) -> None:
    answer = {"custom_id": "q7", "response": {"status_code": 429, "body": {"error": {"message": "slow down"}}}}
    (tmp_path / "x.jsonl").write_text(json.dumps(answer))
    with pytest.raises(FileFormatError, match=r"custom_id 'q7', must hold one vector. Got .*slow down"):
        Embeddings.load(tmp_path / "x.jsonl", space="ada@2")
