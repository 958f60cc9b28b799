"""The application's own queries, from before a run until after drop-old, while it goes on writing."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
import pytest
from lancedb.index import FTS, BTree, HnswSq, IvfFlat, IvfPq

from embcompat.aligners import AffineAligner
from embcompat.embeddings import normalize_rows, split_pairs
from embcompat.export import save_artifact
from embcompat.migration import cut_over, drop_old, job_of, roll_back, run_migration, sweep, verify_migration
from embcompat.runtime import OnnxAligner
from embcompat.stores import GalleryStore, open_store
from embcompat.stores.lancedb.indexes import vector_index
from embcompat.testing import make_pairs

ROWS, DIM = 600, 24


def make_aligner(path: Path, *, normalized: bool) -> OnnxAligner:
    """As many dimensions before as after: a query cannot tell the columns apart by their length."""
    synthetic = make_pairs(200, source_dim=DIM, target_dim=DIM, normalized=normalized)
    artifact = save_artifact(
        AffineAligner(synthetic.matrix, synthetic.offset, normalize=normalized),
        path,
        source=synthetic.pairs.source.space,
        target=synthetic.pairs.target.space,
        split=split_pairs(synthetic.pairs),
    )
    return OnnxAligner(artifact, threads=1)


@pytest.fixture(scope="module")
def same(tmp_path_factory: pytest.TempPathFactory) -> OnnxAligner:
    return make_aligner(tmp_path_factory.mktemp("same") / "artifact", normalized=False)


@pytest.fixture(scope="module")
def unit(tmp_path_factory: pytest.TempPathFactory) -> OnnxAligner:
    return make_aligner(tmp_path_factory.mktemp("unit") / "artifact", normalized=True)


class Application:
    """A table of documents and the queries of who uses it."""

    def __init__(self, folder: Path, *, rows: int = ROWS, kind: pa.DataType | None = None, required: bool = False):
        self.vectors = normalize_rows(np.random.default_rng(1).standard_normal((rows, DIM)).astype(np.float32))
        self.folder = folder
        numbers = pa.array(self.vectors.reshape(-1)).cast(kind or pa.float32())
        column = pa.FixedSizeListArray.from_arrays(numbers, DIM)
        notes = [f"note{row}" for row in range(rows)]
        fields = [pa.field("id", pa.int64()), pa.field("vector", column.type, nullable=not required)]
        schema = pa.schema([*fields, pa.field("note", pa.string())])
        table = pa.table({"id": np.arange(rows), "vector": column, "note": notes}, schema=schema)
        lancedb.connect(str(folder)).create_table("docs", table)

    @property
    def table(self) -> Any:
        return lancedb.connect(str(self.folder)).open_table("docs")

    def opened(self) -> closing[GalleryStore]:
        return closing(open_store(f"lancedb://{self.folder}#docs.vector"))

    def first(self, vector: np.ndarray, **options: Any) -> int:
        return int(self.table.search(vector, **options).limit(1).to_list()[0]["id"])

    def answers(self, vectors: np.ndarray) -> None:
        """Require that every kind of query finds row 7 by its vector."""
        table, query = self.table, vectors[7]
        assert self.first(query) == 7
        assert self.first(query.tolist()) == 7
        assert self.first(query, vector_column_name="vector") == 7
        assert table.search("note7", query_type="fts").limit(1).to_list()[0]["id"] == 7
        hybrid = table.search(query_type="hybrid").vector(query).text("note7").limit(1).to_list()
        assert hybrid[0]["id"] == 7
        assert table.search(query).where("id = 7").select(["id", "vector"]).limit(1).to_list()[0]["vector"] is not None
        assert len(table.to_pandas()) == table.count_rows()


@pytest.fixture
def application(tmp_path: Path) -> Application:
    application = Application(tmp_path)
    application.table.create_index("note", config=FTS())
    return application


@contextmanager
def repeated(action: Callable[[], object]) -> Iterator[list[BaseException]]:
    """Repeat an action in a thread; what it raises is in the list that is yielded."""
    errors: list[BaseException] = []
    stopped = threading.Event()

    def loop() -> None:
        while not stopped.is_set() and not errors:
            try:
                action()
            except BaseException as error:
                errors.append(error)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield errors
    finally:
        stopped.set()
        thread.join()


def test_every_query_answers_at_every_step(application: Application, same: OnnxAligner) -> None:
    old, new = application.vectors, same.transform(application.vectors)
    with application.opened() as store:
        run_migration(same, store)
        application.answers(old)
        verify_migration(same, store)
        cut_over(same, store)
        application.answers(new)
        roll_back(same, store)
        application.answers(old)
        cut_over(same, store)
        drop_old(same, store)
        application.answers(new)
    assert application.table.schema.names[:3] == ["id", "note", "vector"]
    assert application.table.schema.field("vector").type == pa.list_(pa.float32(), DIM)


def test_no_query_fails_while_the_columns_are_exchanged(application: Application, same: OnnxAligner) -> None:
    vectors = np.stack([application.vectors[7], same.transform(application.vectors[7:8])[0]])
    queries = itertools.cycle([{}, {"vector_column_name": "vector"}])

    def query() -> None:
        assert application.table.search(vectors[0], **next(queries)).limit(1).to_list()

    with application.opened() as store:
        run_migration(same, store)
        with repeated(query) as errors:
            for _ in range(3):
                cut_over(same, store)
                roll_back(same, store)
            cut_over(same, store)
            drop_old(same, store)
    assert not errors


@pytest.mark.parametrize("step", ["cutover", "rollback"])
def test_an_exchange_that_was_killed_between_its_commits_is_finished_by_the_next(
    step: str, application: Application, same: OnnxAligner, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = application.vectors, same.transform(application.vectors)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with application.opened() as store:
        run_migration(same, store)
        if step == "rollback":
            cut_over(same, store)
        with monkeypatch.context() as patch:
            patch.setattr(lancedb.table.LanceTable, "alter_columns", killed)
            with pytest.raises(KeyboardInterrupt):
                cut_over(same, store) if step == "cutover" else roll_back(same, store)
        application.first(old[7])
    with application.opened() as store:
        if step == "cutover":
            assert store.state(job_of(same.artifact)).phase == "prepared"
            cut_over(same, store)
            application.answers(new)
        else:
            assert store.state(job_of(same.artifact)).phase == "cut_over"
            roll_back(same, store)
            application.answers(old)


def test_a_job_of_an_earlier_version_whose_column_is_not_hidden_goes_on(
    application: Application, same: OnnxAligner
) -> None:
    with application.opened() as store:
        store.prepare(job_of(same.artifact))
        target = store.leftovers(job_of(same.artifact))[0].removeprefix("column ")
        output = dict.fromkeys(["ARROW:extension:name", "ARROW:extension:metadata"])
        application.table.update_field_metadata({"path": target, "metadata": output})
        run_migration(same, store)
        cut_over(same, store)
        application.answers(same.transform(application.vectors))


def test_a_cutover_among_writers_succeeds_and_loses_nothing(application: Application, same: OnnxAligner) -> None:
    added = itertools.count(10_000)
    fresh = np.random.default_rng(2).standard_normal((2_000, DIM)).astype(np.float32)
    written: dict[int, np.ndarray] = {}

    def write() -> None:
        key = next(added)
        table = application.table
        vector = fresh[key - 10_000]
        row = {"id": key, "vector": vector.tolist(), "note": "late"}
        try:
            table.add([row])
        except ValueError as error:  # between the two commits of the exchange
            if "does not match the file schema" not in str(error):
                raise
            time.sleep(0.2)
            table = application.table
            table.add([row])
        table.delete(f"id = {key - 10_000 + 100}")
        table.update(where=f"id = {key - 10_000 + 101}", values={"vector": vector.tolist()})
        written[key] = vector
        time.sleep(0.05)

    with application.opened() as store:
        run_migration(same, store)
        with repeated(write) as errors:
            time.sleep(0.5)
            cut_over(same, store)
        assert not errors
        late = set(sweep(same, store))
    rows = {row["id"]: row for row in application.table.to_arrow().to_pylist()}
    for key, vector in written.items():  # converted, or found by sweep; never NULL, stale or back again
        expected = same.transform(vector[np.newaxis])[0]
        for identifier in (key, key - 10_000 + 101):
            vectors = rows[identifier]["vector"] if identifier in rows else expected
            replaced = identifier != key and key - 10_000 + 102 in range(100, 100 + len(written) + 1)
            close = vectors is not None and np.allclose(vectors, expected, rtol=1e-4, atol=1e-5)
            assert close or str(identifier) in late or replaced
        assert key - 10_000 + 100 not in rows


def test_rows_of_the_window_are_converted_after_the_switch(
    application: Application, same: OnnxAligner, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = np.random.default_rng(3).standard_normal((2, DIM)).astype(np.float32)
    show = lancedb.table.LanceTable.update_field_metadata

    def window(table: Any, *changes: Any) -> Any:
        application.table.add([{"id": 9_000, "vector": fresh[0].tolist(), "note": "inserted"}])
        application.table.update(where="id = 3", values={"vector": fresh[1].tolist()})
        application.table.delete("id = 4")
        monkeypatch.setattr(lancedb.table.LanceTable, "update_field_metadata", show)
        return application.table.update_field_metadata(*changes)

    with application.opened() as store:
        run_migration(same, store)
        monkeypatch.setattr(lancedb.table.LanceTable, "update_field_metadata", window)
        cut_over(same, store)
        assert list(sweep(same, store)) == []
    rows = {row["id"]: row["vector"] for row in application.table.to_arrow().to_pylist()}
    np.testing.assert_allclose([rows[9_000], rows[3]], same.transform(fresh), rtol=1e-4, atol=1e-5)
    assert 4 not in rows


def test_sweep_finds_what_was_written_to_the_old_side_alone(application: Application, same: OnnxAligner) -> None:
    with application.opened() as store:
        run_migration(same, store)
        cut_over(same, store)
        old = store.late_rows(job_of(same.artifact))
        assert list(old) == []
        name = next(name for name in application.table.schema.names if name.startswith("vector__old_"))
        application.table.update(where="id = 5", values={name: [1.0] * DIM})
        application.table.add([{"id": 8_000, "note": "only old"}])
        application.table.update(where="id = 8000", values={name: [1.0] * DIM})
        assert sorted(sweep(same, store)) == ["5", "8000"]


@pytest.mark.parametrize(
    ("config", "details"),
    [
        (IvfFlat(distance_type="l2", num_partitions=2), {}),
        (IvfPq(distance_type="dot", num_partitions=2, num_sub_vectors=6, num_bits=4), {"num_sub_vectors": 6}),
        (HnswSq(distance_type="cosine", m=12, ef_construction=77), {"max_connections": 12, "construction_ef": 77}),
    ],
)
def test_the_index_keeps_its_kind_metric_and_parameters(
    config: Any, details: dict[str, Any], application: Application, unit: OnnxAligner
) -> None:
    application.table.create_index("vector", config=config)
    application.table.create_index("id", config=BTree())
    original = vector_index(application.table, "vector")
    assert original is not None
    with application.opened() as store:
        run_migration(unit, store)
        assert vector_index(application.table, "vector").unindexed == 0  # type: ignore[union-attr]
        cut_over(unit, store)
        drop_old(unit, store)
    after = vector_index(application.table, "vector")
    assert after is not None
    assert (after.kind, after.metric, after.unindexed) == (original.kind, original.metric, 0)
    described = {**after.details.get("compression", {}), **after.details.get("hnsw", {})}
    assert described.items() >= details.items()


def test_the_metric_of_the_index_is_the_users_choice(application: Application, same: OnnxAligner) -> None:
    application.table.create_index("vector", config=IvfFlat(distance_type="l2", num_partitions=2))
    job = job_of(same.artifact)
    with application.opened() as store:
        assert ["compares by euclidean" in entry.text for entry in store.obstacles(job) if not entry.acceptable] == [
            True
        ]
        chosen = replace(job, metric="cosine")
        assert all(entry.acceptable for entry in store.obstacles(chosen))


def test_indexes_in_service_are_kept_up_while_rows_are_written(application: Application, same: OnnxAligner) -> None:
    application.table.create_index("vector", config=IvfFlat(distance_type="cosine", num_partitions=2))
    application.table.create_index("id", config=BTree())
    job = job_of(same.artifact)
    unindexed = []
    with application.opened() as store:
        store.prepare(job)
        while len(rows := next(store.scan(job, batch_size=50, missing_only=True), ())):
            store.write(job, rows.ids, same.transform(rows.vectors), rows.digests())
            unindexed.append(max(index.num_unindexed_rows for index in application.table.list_indices()))
    assert len(unindexed) == 12
    assert max(unindexed) <= 0.1 * ROWS + 50


def test_a_column_that_refuses_null_takes_rows_at_every_step(tmp_path: Path, same: OnnxAligner) -> None:
    application = Application(tmp_path, required=True)
    keys = itertools.count(5_000)

    def add() -> None:
        application.table.add([{"id": next(keys), "vector": [1.0] * DIM, "note": "added"}])

    with application.opened() as store:
        run_migration(same, store)
        add()
        cut_over(same, store)
        add()
        drop_old(same, store)
        add()
    assert not application.table.schema.field("vector").nullable


@pytest.mark.parametrize("kind", [pa.float16(), pa.float64()])
def test_vectors_keep_their_type(kind: pa.DataType, tmp_path: Path, same: OnnxAligner) -> None:
    application = Application(tmp_path, kind=kind)
    with application.opened() as store:
        run_migration(same, store)
        cut_over(same, store)
        assert list(sweep(same, store)) == []
        drop_old(same, store)
    assert application.table.schema.field("vector").type == pa.list_(kind, DIM)
    new = same.transform(application.vectors)
    assert application.first(new[7].astype(kind.to_pandas_dtype())) == 7


def test_texts_are_read_beside_the_vectors(application: Application, same: OnnxAligner) -> None:
    job = replace(job_of(same.artifact), text_column="note")
    with application.opened() as store:
        assert all(entry.acceptable for entry in store.obstacles(job))
        for wrong in ("id", "nothing"):
            assert not all(entry.acceptable for entry in store.obstacles(replace(job, text_column=wrong)))
        rows = next(store.scan(job, batch_size=100, missing_only=False))
        assert rows.texts is not None
        assert list(rows.texts) == [f"note{identifier}" for identifier in rows.ids]


def test_an_embedding_function_that_would_stay_needs_a_word(tmp_path: Path, same: OnnxAligner) -> None:
    application = Application(tmp_path)
    table = application.table
    function = '[{"name": "old-model", "model": {}, "source_column": "note", "vector_column": "vector"}]'
    table.add_columns(pa.schema([], metadata={"embedding_functions": function}))
    with application.opened() as store:
        texts = [entry.text for entry in store.obstacles(job_of(same.artifact)) if entry.acceptable]
        assert any("The embedding function 'old-model'" in text for text in texts)


def test_the_plan_tells_which_clients_must_name_their_column(application: Application, same: OnnxAligner) -> None:
    with application.opened() as store:
        assert "must name the column ('vector')" in store.notes(job_of(same.artifact))[0]
        longer = same.artifact.target.model_copy(update={"dim": DIM + 1})
        assert store.notes(replace(job_of(same.artifact), target=longer)) == []

    async def first(**options: Any) -> list[dict[str, Any]]:
        database = await lancedb.connect_async(str(application.folder))
        query = (await database.open_table("docs")).vector_search(application.vectors[7].tolist())
        hits: list[dict[str, Any]] = await (query.column("vector") if options else query).limit(1).to_list()
        return hits

    with application.opened() as store:
        run_migration(same, store)
    assert asyncio.run(first(named=True))[0]["id"] == 7
    with pytest.raises(Exception, match="column"):
        asyncio.run(first())
