"""How long indexes will take is measured in temporary tables, and nothing of that stays."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest
from psycopg import sql

from embcompat.migration import job_of, plan_migration, run_migration
from embcompat.runtime import OnnxAligner
from embcompat.stores import GalleryStore, IndexEstimate

DIM, ROWS = 24, 300


def estimated(database: Any, aligner: OnnxAligner, query: str = "", **options: Any) -> dict[str, IndexEstimate]:
    """Return the estimates of a plan by the names of the indexes."""
    with database.opened(query, **options) as store:
        return {each.index: each for each in plan_migration(aligner, store).index_estimates}


@pytest.fixture
def docs(database: Any) -> Any:
    """A table of 300 vectors, the first 100 of another kind."""
    database.execute(f"CREATE TABLE docs (id integer PRIMARY KEY, v vector({DIM}), kind text, other vector({DIM}))")
    database.fill("docs", ROWS)
    database.execute("UPDATE docs SET kind = CASE WHEN id < 100 THEN 'WHERE it''s' ELSE 'b' END, other = v")
    return database


@pytest.mark.parametrize("target", ["?target=table", "?target=column"])
def test_each_index_is_measured_over_the_rows_that_it_will_hold(docs: Any, aligner: OnnxAligner, target: str) -> None:
    docs.execute(
        f"""
        CREATE INDEX graph ON docs USING hnsw (v vector_l2_ops) WITH (m = 8);
        CREATE INDEX part ON docs USING hnsw (v vector_cosine_ops) WHERE kind = 'WHERE it''s';
        CREATE INDEX bits ON docs USING hnsw ((binary_quantize(v)::bit({DIM})) bit_hamming_ops);
        CREATE INDEX half ON docs USING ivfflat ((v::halfvec({DIM})) halfvec_l2_ops) WITH (lists = 4);
        """
    )
    initial = docs.execute("SELECT oid, relname FROM pg_class ORDER BY oid").fetchall()
    estimates = estimated(docs, aligner, target)
    assert docs.execute("SELECT oid, relname FROM pg_class ORDER BY oid").fetchall() == initial
    rows = {"hnsw graph": ROWS, "hnsw part": 100, "hnsw bits": ROWS, "ivfflat half": ROWS}
    assert {name: each.rows for name, each in estimates.items()} == rows
    for each in estimates.values():
        assert each.sample_rows == ROWS
        assert 0 < (each.seconds_low or 0) <= (each.seconds or 0) <= (each.seconds_high or 0)
        assert (each.bytes or 0) > 0
        assert each.remark == ""


def test_an_index_of_other_vectors_and_one_that_stands_already(docs: Any, aligner: OnnxAligner) -> None:
    docs.execute("CREATE INDEX graph ON docs USING hnsw (v vector_l2_ops)")
    docs.execute("CREATE INDEX others ON docs USING hnsw (other vector_l2_ops)")
    estimate = estimated(docs, aligner)["hnsw others"]
    assert (estimate.seconds, estimate.remark) == (None, "it does not hold the converted vectors")
    with docs.opened() as store:
        run_migration(aligner, store)
        assert store.estimate_indexes(job_of(aligner.artifact), np.ones((5, 16), np.float32)) == []


def test_partitions_are_estimated_one_by_one(database: Any, aligner: OnnxAligner) -> None:
    database.execute(
        f"""
        CREATE TABLE docs (id integer PRIMARY KEY, v vector({DIM})) PARTITION BY RANGE (id);
        CREATE TABLE low PARTITION OF docs FOR VALUES FROM (0) TO (20);
        CREATE TABLE high PARTITION OF docs FOR VALUES FROM (20) TO (100);
        CREATE INDEX graph ON docs USING hnsw (v vector_l2_ops);
        """
    )
    database.fill("docs", 50)
    estimates = estimated(database, aligner, "?target=column")
    assert sorted(each.rows for each in estimates.values()) == [20, 30]


@pytest.mark.parametrize("kind", ["real[]", "vector", "halfvec(24)"])
def test_each_way_to_store_vectors(database: Any, aligner: OnnxAligner, kind: str) -> None:
    database.execute(f"CREATE TABLE docs (id integer PRIMARY KEY, v {kind})")
    cast = "halfvec" if "half" in kind else "vector"
    database.execute(f"CREATE INDEX graph ON docs USING hnsw ((v::{cast}({DIM})) {cast}_cosine_ops)")
    database.execute("INSERT INTO docs SELECT n, array_fill(n::real, '{24}')::real[] FROM generate_series(1, 40) n")
    assert estimated(database, aligner)["hnsw graph"].seconds is not None


def test_without_the_right_to_temporary_tables_there_is_a_reason(
    docs: Any, postgres: str, aligner: OnnxAligner
) -> None:
    docs.execute("CREATE INDEX graph ON docs USING hnsw (v vector_l2_ops)")
    schema, name = (sql.Identifier(str(docs.one(f"SELECT current_{each}()"))) for each in ("schema", "database"))
    docs.execute("CREATE ROLE owner_without_temp LOGIN")
    docs.execute(sql.SQL("REVOKE TEMP ON DATABASE {} FROM PUBLIC").format(name))
    try:
        docs.execute(sql.SQL("ALTER SCHEMA {} OWNER TO owner_without_temp").format(schema))
        docs.execute("ALTER TABLE docs OWNER TO owner_without_temp")
        docs.server = postgres.replace("postgres:@", "owner_without_temp:@", 1)
        estimate = estimated(docs, aligner)["hnsw graph"]
        assert estimate.seconds is None
        assert estimate.remark.startswith("a trial in a temporary table failed: permission denied to create temporary")
    finally:
        docs.execute(sql.SQL("GRANT TEMP ON DATABASE {} TO PUBLIC").format(name))
        docs.execute("REASSIGN OWNED BY owner_without_temp TO CURRENT_USER; DROP ROLE owner_without_temp")


def test_rows_beyond_the_memory_of_the_server_take_longer(docs: Any, aligner: OnnxAligner) -> None:
    docs.execute("CREATE INDEX graph ON docs USING hnsw (v vector_l2_ops)")
    with docs.opened("?target=column") as store:
        vectors = np.random.default_rng(0).standard_normal((3_000, 16)).astype(np.float32)
        store._writer.execute("SET maintenance_work_mem = '64kB'")
        (estimate,) = store.estimate_indexes(job_of(aligner.artifact), vectors)
    assert estimate.rows == ROWS
    assert "rows fit into maintenance_work_mem, and the others take longer" in estimate.remark
    assert estimate.seconds_high is not None


def test_another_connection_sees_how_far_a_build_is(docs: Any, aligner: OnnxAligner) -> None:
    docs.execute("INSERT INTO docs SELECT 1000 + n, v FROM docs, generate_series(1, 20) n ON CONFLICT DO NOTHING")
    docs.execute("UPDATE docs SET kind = repeat('x', 500)")
    docs.execute("CREATE INDEX graph ON docs USING hnsw (v vector_l2_ops) WITH (ef_construction = 400)")
    statuses = set()
    with docs.opened("?target=column") as store:
        assert store.index_status() is None
        run_migration(aligner, store, index_progress=watched(store, statuses))
    assert any(status.startswith("building index") for status in statuses)


@contextmanager
def watched(store: GalleryStore, statuses: set[str]) -> Iterator[None]:
    """Ask a store again and again how far it is, in another thread."""
    end = Event()

    def watch() -> None:
        while not end.wait(0.005):
            statuses.add(store.index_status() or "")

    thread = Thread(target=watch)
    thread.start()
    yield
    end.set()
    thread.join()
