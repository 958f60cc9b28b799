"""What a Milvus collection holds besides the vector that is converted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymilvus import DataType, MilvusClient

from embcompat.errors import InputError, StoreError
from embcompat.migration import RunOptions, abort, cut_over, drop_old, job_of, roll_back, run_migration, sweep
from embcompat.runtime import OnnxAligner
from embcompat.stores import open_store, sample_rows
from embcompat.stores.milvus.collections import MilvusCollections
from embcompat.stores.milvus.connection import Milvus

DIM, ROWS = 24, 20
OPTIONS = RunOptions(metric="dot")
"""The fixture's vectors are compared by cosine; the collection's metric is to stay."""


@pytest.fixture
def client(tmp_path: Path) -> Iterator[MilvusClient]:
    with closing(MilvusClient(str(tmp_path / "docs.db"))) as client:
        yield client


def fill(client: MilvusClient, *, dynamic: bool) -> np.ndarray:
    """Make a collection with two partitions and fields of several kinds, behind an alias; return its vectors."""
    vectors = np.random.default_rng(0).standard_normal((ROWS, DIM)).astype(np.float32)
    schema, indexes = client.create_schema(enable_dynamic_field=dynamic), client.prepare_index_params()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("v", DataType.FLOAT_VECTOR, dim=DIM)
    schema.add_field("picture", DataType.FLOAT_VECTOR, dim=2)
    schema.add_field("lang", DataType.VARCHAR, max_length=9, default_value="en")
    schema.add_field("sizes", DataType.ARRAY, element_type=DataType.INT64, max_capacity=3)
    schema.add_field("more", DataType.JSON, nullable=True)
    indexes.add_index("v", index_type="HNSW", metric_type="IP", params={"M": 8, "efConstruction": 64})
    indexes.add_index("picture", index_type="FLAT", metric_type="L2")
    properties = {"collection.ttl.seconds": "0"}
    client.create_collection("docs", schema=schema, index_params=indexes, properties=properties)
    client.create_partition("docs", "odd")
    for partition, start in (("_default", 0), ("odd", 1)):
        rows = [
            {"id": key, "v": vectors[key].tolist(), "picture": [1.0, key], "sizes": [key], "more": {"n": key}}
            | ({f"extra{key}": key} if dynamic else {})
            for key in range(start, ROWS, 2)
        ]
        client.insert("docs", rows, partition_name=partition)
    client.create_alias("docs", "live")
    return vectors


def others(client: MilvusClient) -> dict[Any, Any]:
    """Return everything but the vector, with the partition of each record."""
    records = {}
    for partition in ("_default", "odd"):
        rows = client.query("live", filter="id >= 0", output_fields=["*"], partition_names=[partition])
        for row in rows:
            records[row["id"]] = {k: v for k, v in row.items() if k not in ("v", "embcompat")} | {"": partition}
    return records


@pytest.mark.parametrize("dynamic", [True, False])
def test_a_migration_changes_the_vectors_and_nothing_else(
    dynamic: bool, client: MilvusClient, aligner: OnnxAligner, tmp_path: Path
) -> None:
    vectors = fill(client, dynamic=dynamic)
    contents = others(client)
    with closing(open_store(f"milvus://{tmp_path}/docs.db#live.v")) as store:
        run_migration(aligner, store, options=OPTIONS)
        client.create_partition("docs", "late")
        late = {"id": 99, "v": vectors[0].tolist(), "picture": [1.0, 99], "sizes": [99]}
        client.insert("docs", [late], partition_name="late")
        cut_over(aligner, store, options=OPTIONS)
        assert client.query("live", filter="id == 99", output_fields=["sizes"], partition_names=["late"])
        client.delete("live", ids=[99])
        assert others(client) == contents
        description = client.describe_collection(client.describe_alias("live")["collection_name"])
        assert description["properties"]["collection.ttl.seconds"] == "0"
        assert description["enable_dynamic_field"] == dynamic
        rows = client.query("live", filter="id >= 0", output_fields=["id", "v"])
        known = {row["id"]: row["v"] for row in rows}
        expected = aligner.transform(vectors)
        np.testing.assert_allclose([known[key] for key in range(ROWS)], expected, rtol=1e-4, atol=1e-5)
        client.upsert("live", [{"id": 3, "v": known[4], "picture": [0.0, 0.0], "sizes": []}], partition_name="odd")
        client.delete("live", ids=[5])
        assert list(sweep(aligner, store)) == ["3"]
        assert roll_back(aligner, store) == 1
        after = others(client)
        assert sorted(after) == [key for key in range(ROWS) if key != 5]
        assert (after[3]["picture"], after[3][""]) == ([0.0, 0.0], "odd")
        np.testing.assert_array_equal(client.query("live", filter="id == 3", output_fields=["v"])[0]["v"], vectors[3])
        cut_over(aligner, store, options=OPTIONS)
        drop_old(aligner, store)
    assert client.list_collections() == [f"docs__v__{aligner.artifact.id[:12]}"]


def test_a_rollback_that_is_killed_keeps_the_old_vector_of_a_record_that_lost_a_field(
    client: MilvusClient, aligner: OnnxAligner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, url = fill(client, dynamic=True), f"milvus://{tmp_path}/docs.db#live.v"

    def dying(self: Any, method: Any, *arguments: Any, **options: Any) -> Any:
        if method.__name__ == "upsert" and arguments[0] == "docs":  # it was deleted right before
            raise KeyboardInterrupt
        return request(self, method, *arguments, **options)

    with closing(open_store(url)) as store:
        run_migration(aligner, store, options=OPTIONS)
        cut_over(aligner, store, options=OPTIONS)
        row = client.query("live", filter="id == 3", output_fields=["*"])[0]
        client.delete("live", ids=[3])
        client.insert("live", [{k: v for k, v in row.items() if k != "extra3"}], partition_name="odd")
        request = Milvus._tried
        monkeypatch.setattr(Milvus, "_tried", dying)
        with pytest.raises(KeyboardInterrupt):
            roll_back(aligner, store)
        monkeypatch.undo()
    with closing(open_store(url)) as store:
        assert roll_back(aligner, store) == 0
    rows = client.query("live", filter="id >= 0", output_fields=["id", "v"])
    np.testing.assert_array_equal([row["v"] for row in sorted(rows, key=lambda row: row["id"])], vectors)
    assert "extra3" not in others(client)[3]
    assert sorted(client.list_collections()) == ["docs", f"docs__v__{aligner.artifact.id[:12]}"]


def test_a_native_write_leaves_what_an_application_changes_meanwhile(
    client: MilvusClient, aligner: OnnxAligner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(client, dynamic=True)
    job, write = job_of(aligner.artifact), MilvusCollections.write_vectors

    def late(self: Any, *arguments: Any) -> None:
        client.upsert(
            "live", [{"id": 3, "sizes": [7, 8], "extra3": "edited"}], partition_name="odd", partial_update=True
        )
        write(self, *arguments)

    with closing(open_store(f"milvus://{tmp_path}/docs.db#live.v")) as store:
        run_migration(aligner, store, options=OPTIONS)
        cut_over(aligner, store, options=OPTIONS)
        monkeypatch.setattr(MilvusCollections, "write_vectors", late)
        store.write_native(job, ["3"], np.ones((1, aligner.artifact.target.dim), np.float32))
        assert store.read_target(job, ["3"]).native.tolist() == [True]
        assert list(sweep(aligner, store)) == []
    record = others(client)[3]
    assert (record["sizes"], record["extra3"], record[""]) == ([7, 8], "edited", "odd")


def test_keys_with_any_characters(client: MilvusClient, aligner: OnnxAligner, tmp_path: Path) -> None:
    keys = [f"a{character}b" for character in "\x00\x01\x02\x1f\x7f\t\n\r\b\f\"'\\{}%\u2028ü😀"]
    schema, indexes = client.create_schema(), client.prepare_index_params()
    schema.add_field("id", DataType.VARCHAR, max_length=64, is_primary=True)
    schema.add_field("v", DataType.FLOAT_VECTOR, dim=DIM)
    indexes.add_index("v", index_type="FLAT", metric_type="COSINE")
    client.create_collection("docs", schema=schema, index_params=indexes)
    client.create_alias("docs", "live")
    vectors = np.random.default_rng(0).standard_normal((len(keys), DIM)).astype(np.float32)
    client.insert("docs", [{"id": key, "v": vector.tolist()} for key, vector in zip(keys, vectors, strict=True)])
    with closing(open_store(f"milvus://{tmp_path}/docs.db#live.v")) as store:
        assert run_migration(aligner, store).rows == len(keys)
        cut_over(aligner, store)
        store.discard(job_of(aligner.artifact), keys[:-2])
    assert sorted(row["id"] for row in client.query("live", filter="", limit=99)) == sorted(keys[-2:])


def test_an_old_collection_that_another_alias_serves_is_not_dropped(
    client: MilvusClient, aligner: OnnxAligner, tmp_path: Path
) -> None:
    fill(client, dynamic=True)
    client.create_alias("docs", "second")
    with closing(open_store(f"milvus://{tmp_path}/docs.db#live.v")) as store:
        run_migration(aligner, store, options=OPTIONS)
        cut_over(aligner, store, options=OPTIONS)
        with pytest.raises(StoreError, match="still served by the alias second"):
            drop_old(aligner, store)
        assert client.list_aliases("docs")["aliases"] == ["second"]
        client.drop_alias("second")
        drop_old(aligner, store)
    assert not client.has_collection("docs")


def test_an_abort_leaves_the_collection_alone(client: MilvusClient, aligner: OnnxAligner, tmp_path: Path) -> None:
    fill(client, dynamic=False)
    with closing(open_store(f"milvus://{tmp_path}/docs.db#live.v")) as store:
        run_migration(aligner, store, options=OPTIONS)
        abort(aligner, store)
    assert client.list_collections() == ["docs"]


def test_a_sample_takes_conditions_and_fields(client: MilvusClient, tmp_path: Path) -> None:
    vectors = fill(client, dynamic=True)
    url = f"milvus://{tmp_path}/docs.db#live.v"
    rows = sample_rows(url, rows=4, label_column="lang", where="id > 9")
    assert len(rows) == 4
    assert list(rows.labels or ()) == ["en"] * 4
    for key, vector in zip(rows.ids, rows.vectors, strict=True):
        np.testing.assert_array_equal(vector, vectors[int(key)])
    with pytest.raises(InputError, match="cannot evaluate the condition 'id >'"):
        sample_rows(url, where="id >")


def test_what_cannot_be_copied_is_listed(client: MilvusClient, aligner: OnnxAligner, tmp_path: Path) -> None:
    client.create_collection("auto", dimension=DIM, auto_id=True, metric_type="COSINE")
    client.create_alias("auto", "live")
    with closing(open_store(f"milvus://{tmp_path}/docs.db#live.vector")) as store:
        listed = [entry.text for entry in store.obstacles(job_of(aligner.artifact))]
    assert ["auto_id" in text for text in listed] == [True]
    schema, indexes = client.create_schema(), client.prepare_index_params()
    schema.add_field("id", DataType.INT64, is_primary=True)
    for name in ("v", "w"):
        schema.add_field(name, DataType.FLOAT_VECTOR, dim=DIM, nullable=name == "w")
        indexes.add_index(name, index_type="FLAT", metric_type="COSINE")
    client.create_collection("empty", schema=schema, index_params=indexes)
    client.create_alias("empty", "null")
    for field, match in (("v", "which Milvus Lite reads as zeros"), ("w", "without a vector cannot be converted")):
        with closing(open_store(f"milvus://{tmp_path}/docs.db#null.{field}")) as store:
            assert match in " ".join(entry.text for entry in store.obstacles(job_of(aligner.artifact)))


def test_addresses_that_lead_nowhere(client: MilvusClient, tmp_path: Path) -> None:
    fill(client, dynamic=True)
    for name, message in (
        ("live", "has the form milvus:///file.db#alias.field"),
        ("docs.v", "'docs' is a collection, and Milvus switches only aliases"),
        ("none.v", "there is no alias 'none'. Collections: docs"),
        ("live.w", "there is no vector field 'w'. Vector fields: v, picture"),
    ):
        with pytest.raises(InputError, match=message):
            open_store(f"milvus://{tmp_path}/docs.db#{name}")
    with pytest.raises(InputError, match="there is no Milvus file"):
        open_store("milvus:///nowhere.db#live.v")
