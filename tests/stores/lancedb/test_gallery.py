from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import lancedb
import numpy as np
import pyarrow as pa
import pytest
from lancedb.index import IvfFlat

from embcompat.migration import cut_over, job_of, plan_migration, run_migration
from embcompat.stores import vector_digests
from embcompat.stores.lancedb.columns import literal
from embcompat.stores.lancedb.indexes import vector_index
from embcompat.testing.stores.check import Gallery, StoreBench, StoreCheck, StoreHarness, store_bench
from embcompat.testing.stores.checks import STORE_CHECKS
from embcompat.testing.stores.faults import check_random_kills


class LanceHarness(StoreHarness):
    """An application that keeps a gallery in LanceDB."""

    holds_nulls = True
    text_column = "note"

    def key_sets(self, count: int) -> dict[str, list[Any]]:
        return {
            "string": [f"o'item {number} ü" for number in range(count)],
            "integer": [number * 7 - 50 for number in range(count)],
            "uuid": [UUID(int=number * 12345678901234567890) for number in range(count)],
            "composite": [(f"tenant, {number % 3}", number) for number in range(count)],
        }

    def create(self, gallery: Gallery) -> str:
        composite = isinstance(next(iter(gallery)), tuple)
        folder = self.fresh_path("tables")
        lancedb.connect(str(folder)).create_table("docs", self.table_of(gallery), on_bad_vectors="null")
        return f"lancedb://{folder}#docs.vector?key={'tenant,number' if composite else 'id'}"

    def create_two(self, gallery: Gallery, other: Gallery) -> tuple[str, str]:
        folder = self.fresh_path("tables")
        rows = self.table_of(gallery)
        rows = rows.append_column("other", self.table_of(other)["vector"])
        lancedb.connect(str(folder)).create_table("docs", rows)
        return f"lancedb://{folder}#docs.vector", f"lancedb://{folder}#docs.other"

    def column(self, url: str) -> str:
        return url.partition("#")[2].partition("?")[0].removeprefix("docs.")

    def build_index(self, url: str) -> None:
        config = IvfFlat(distance_type="cosine", num_partitions=2)
        self.table(url).create_index(self.column(url), config=config)

    def metric(self, url: str) -> str | None:
        index = vector_index(self.table(url), self.column(url))
        return None if index is None else index.metric

    def nearest(self, url: str, query: np.ndarray) -> Any:
        hits = self.table(url).search(query).distance_type("cosine").limit(1).to_arrow()
        return self.keys(hits)[0]

    def table_of(self, gallery: Gallery) -> pa.Table:
        dim = next(len(vector) for vector in gallery.values() if vector is not None)
        vectors = pa.array([None if v is None else v.tolist() for v in gallery.values()], pa.list_(pa.float32(), dim))
        keys = list(gallery)
        if isinstance(keys[0], tuple):
            columns = {"tenant": [key[0] for key in keys], "number": [key[1] for key in keys]}
        elif isinstance(keys[0], UUID):
            columns = {"id": pa.array([key.bytes for key in keys], pa.binary(16))}
        else:
            columns = {"id": keys}
        return pa.table({**columns, "vector": vectors, "note": [f"note {key}" for key in keys]})

    def table(self, url: str) -> Any:
        return lancedb.connect(url.removeprefix("lancedb://").partition("#")[0]).open_table("docs")

    def keys(self, table: pa.Table) -> list[Any]:
        if "tenant" in table.column_names:
            return list(zip(table["tenant"].to_pylist(), table["number"].to_pylist(), strict=True))
        return [UUID(bytes=key) if isinstance(key, bytes) else key for key in table["id"].to_pylist()]

    def put(self, url: str, gallery: Gallery) -> None:
        table = self.table(url)
        on = [name for name in ("tenant", "number", "id") if name in table.schema.names]
        rows = self.table_of(gallery)
        table.merge_insert(on).when_matched_update_all().when_not_matched_insert_all().execute(
            rows, on_bad_vectors="null"
        )

    def delete(self, url: str, keys: Sequence[Any]) -> None:
        quoted = ", ".join("'" + key.replace("'", "''") + "'" for key in keys)
        self.table(url).delete(f"id IN ({quoted})")

    def get(self, url: str) -> Gallery:
        table = self.table(url).to_arrow()
        vectors = [None if v is None else np.array(v, np.float32) for v in table[self.column(url)].to_pylist()]
        return dict(zip(self.keys(table), vectors, strict=True))

    def notes(self, url: str) -> dict[Any, str]:
        table = self.table(url).to_arrow()
        return dict(zip(self.keys(table), table["note"].to_pylist(), strict=True))

    def put_notes(self, url: str, notes: Mapping[Any, str]) -> None:
        table = self.table(url)
        for key, note in notes.items():
            table.update(where=f"id = {literal(key)}", values={"note": note})


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> StoreBench:
    folder = tmp_path_factory.mktemp("lancedb")
    return store_bench(LanceHarness(folder), folder)


@pytest.mark.parametrize("check", STORE_CHECKS, ids=lambda check: check.__name__)
def test_the_suite_of_every_store(check: StoreCheck, bench: StoreBench) -> None:
    check(bench)


@pytest.mark.soak
def test_random_kills(bench: StoreBench) -> None:
    check_random_kills(bench)


@pytest.mark.parametrize("moment", ["after the scan", "during the commit"])
def test_what_an_application_changes_meanwhile_is_kept(
    moment: str, bench: StoreBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = bench.harness.create(bench.gallery(40))
    job = job_of(bench.shrink.artifact)
    application = lancedb.connect(url.removeprefix("lancedb://").partition("#")[0])
    with bench.store(url) as store:
        store.prepare(job)
        rows = next(store.scan(job, batch_size=1_024, missing_only=True))
        changed, deleted = (literal(rows.ids[row]) for row in (3, 5))

        def change() -> None:
            table = application.open_table("docs")
            table.update(where=f"id = {changed}", values={"note": "changed meanwhile"})
            table.delete(f"id = {deleted}")

        if moment == "after the scan":
            change()
        else:
            opened = store._table.latest
            openings = itertools.count()

            def opened_before_the_change() -> Any:
                table = opened()
                if next(openings) == 1:  # the version whose rows are read and written again
                    change()
                return table

            monkeypatch.setattr(store._table, "latest", opened_before_the_change)
        store.write(job, rows.ids, bench.shrink.transform(rows.vectors), vector_digests(rows.vectors))
        assert store.coverage(job).missing == 0
    notes = bench.harness.notes(url)
    assert len(notes) == 39
    assert notes[rows.ids[3]] == "changed meanwhile"


@pytest.mark.parametrize("blobs", [False, True])
def test_columns_of_every_kind_come_through(blobs: bool, bench: StoreBench, tmp_path: Path) -> None:
    gallery = bench.gallery(6)
    rows = LanceHarness(tmp_path).table_of(gallery)
    described = {"lance-encoding:blob": "true"} if blobs else None
    for field, values in (
        (
            pa.field("struct", pa.struct({"a": pa.int8(), "b": pa.list_(pa.string())})),
            [None, *[{"a": 1, "b": ["x"]}] * 5],
        ),
        (pa.field("words", pa.dictionary(pa.int32(), pa.string())), ["u", "v", None] * 2),
        (pa.field("price", pa.decimal128(10, 2)), [None] * 6),
        (pa.field("picture", pa.large_binary(), metadata=described), [bytes([row]) * 9 for row in range(6)]),
    ):
        rows = rows.append_column(field, pa.array(values, field.type))
    database = lancedb.connect(str(tmp_path))
    database.create_table("docs", rows)

    def others() -> list[Any]:
        table = database.open_table("docs")
        hits = table.search().select(["id", "note", "struct", "words", "price"]).with_row_id(True).to_arrow()
        if blobs:
            pictures = table.fetch_blobs("picture", hits["_rowid"].to_pylist())
        else:
            pictures = table.search().select(["picture"]).to_arrow()["picture"]
        rows = hits.drop_columns("_rowid").append_column("picture", pa.chunked_array(pictures)).to_pylist()
        return sorted(rows, key=lambda row: str(row["id"]))

    original = others()
    with bench.store(f"lancedb://{tmp_path}#docs.vector") as store:
        assert plan_migration(bench.shrink, store).write_seconds
        run_migration(bench.shrink, store)
        cut_over(bench.shrink, store)
    assert others() == original
    assert database.open_table("docs").schema.field("vector").type.list_size == bench.shrink.artifact.target.dim
