from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embcompat.embeddings import Embeddings
from embcompat.errors import FileFormatError, InputError, StoreError
from embcompat.files import open_vectors
from embcompat.files.objects import ObjectPath, is_object_url, location
from embcompat.files.reading.opening import file_identity
from tests.s3 import SECRET, send

NAMES = ["a b.parquet", "ä/ö#?.parquet", "year=2024/x%20y.parquet", "plain.parquet"]


def put(folder: str, name: str, rows: int = 3) -> ObjectPath:
    path = location(f"{folder}/{name}")
    assert isinstance(path, ObjectPath)
    sink = pa.BufferOutputStream()
    ids = [f"{name} {row}" for row in range(rows)]
    vectors = pa.array([[row, 1.0] for row in range(rows)], pa.list_(pa.float32()))
    pq.write_table(pa.table({"id": pa.array(ids, pa.string()), "vector": vectors}), sink)
    path.write_bytes(sink.getvalue().to_pybytes())
    return path


def test_keys_are_taken_literally(s3: str) -> None:
    for name in NAMES:
        path = put(s3, name)
        assert path.exists()
        assert path.is_file()
        assert Embeddings.load(str(path), space="old@1").ids.tolist()[0] == f"{name} 0"
    assert [str(path) for path in location(s3).walk()] == sorted(f"{s3}/{name}" for name in NAMES)
    assert location(f"{s3}/ä").is_dir()
    assert not location(f"{s3}/b").exists()


def test_an_address_names_its_parts() -> None:
    path = location("s3://bucket/a/b.tar.parquet")
    assert (path.name, path.stem, path.suffix, str(path.parent)) == (
        "b.tar.parquet",
        "b.tar",
        ".parquet",
        "s3://bucket/a",
    )
    assert str(path.parent / "c d") == "s3://bucket/a/c d"
    assert location("gs://bucket").key == ""
    assert location("old.parquet") == Path("old.parquet")
    assert not is_object_url("lancedb://s3://bucket/table")
    with pytest.raises(InputError, match="must not hold credentials") as refusal:
        location("s3://me:hunter2hunter2@bucket/a")
    assert "hunter2" not in str(refusal.value)
    with pytest.raises(InputError, match="must be s3://bucket/key"):
        location("s3:///a")


def test_a_column_may_follow_the_key(s3: str) -> None:
    path = put(s3, "plain.parquet")
    assert open_vectors(f"{path}#vector?key=id").roles.id == "id"
    with pytest.raises(FileFormatError, match="has no column 'other'"):
        open_vectors(f"{path}#other")


def test_folders_and_patterns_are_one_gallery(s3: str) -> None:
    for name in NAMES:
        put(s3, name)
    put(s3, "empty.parquet", rows=0)
    put(s3, "_temporary/hidden.parquet")
    location(f"{s3}/_SUCCESS").write_bytes(b"")
    assert open_vectors(s3).rows == 12
    assert open_vectors(f"{s3}/*.parquet").rows == 6
    assert open_vectors(f"{s3}/year=*/*.parquet").schema.names == ["id", "vector", "year"]
    with pytest.raises(InputError, match="no file of vectors matches the pattern"):
        open_vectors(f"{s3}/*.pq")


def test_the_identity_changes_with_the_object(s3: str) -> None:
    path = put(s3, "a.parquet")
    identity, folder = file_identity(path), file_identity(location(s3))
    assert identity == file_identity(path)
    put(s3, "a.parquet", rows=4)
    assert file_identity(path)["etag"] != identity["etag"]
    assert file_identity(location(s3)) != folder


def test_headers_go_with_a_copy(s3: str, s3_server: str, tmp_path: Path) -> None:
    key = s3.removeprefix("s3:/")
    send(s3_server, "PUT", f"{key}/a", b"x", **{"Content-Type": "text/x-mine", "Cache-Control": "no-cache"})
    (tmp_path / "file").write_bytes(b"copied")
    location(f"{s3}/b").upload(tmp_path / "file", location(f"{s3}/a").headers())
    assert location(f"{s3}/b").headers() == {"Content-Type": "text/x-mine", "Cache-Control": "no-cache"}
    assert location(f"{s3}/b").read_bytes() == b"copied"


def test_what_is_absent_or_unfit_is_named(s3: str) -> None:
    with pytest.raises(InputError, match="there is no bucket 'no-such-bucket'"):
        open_vectors("s3://no-such-bucket/a.parquet")
    with pytest.raises(FileFormatError, match=r"s3://.*/none\.parquet does not exist"):
        open_vectors(f"{s3}/none.parquet")
    with pytest.raises(FileFormatError, match="does not exist"):
        location(f"{s3}/none.parquet").read_bytes()
    location(f"{s3}/bad.parquet").write_bytes(b"not Parquet")
    with pytest.raises(FileFormatError, match="is not a complete Parquet file"):
        open_vectors(f"{s3}/bad.parquet")
    location(f"{s3}/a.npy").write_bytes(b"")
    with pytest.raises(InputError, match="in an object store, only Parquet files are read"):
        open_vectors(f"{s3}/a.npy")


def test_refused_requests_say_what_to_do_and_no_secret(s3: str, s3_server: str) -> None:
    path = put(s3, "a.parquet")
    send(s3_server, "POST", "/moto-api/reset-auth", b"0", **{"Content-Type": "text/plain"})
    try:
        with pytest.raises(StoreError, match="cannot read .*\n.*s3:GetObject and s3:ListBucket") as refusal:
            path.exists()
        with pytest.raises(StoreError, match="cannot write .*\nThe credentials are not valid"):
            path.write_bytes(b"")
    finally:
        send(s3_server, "POST", "/moto-api/reset-auth", b"inf", **{"Content-Type": "text/plain"})
    assert SECRET not in str(refusal.value)
