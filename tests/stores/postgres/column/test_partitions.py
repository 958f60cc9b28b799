"""A partitioned PostgreSQL table is migrated with its partitions: one cutover, and every index where it was."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import psycopg
import pytest

from embcompat.errors import StoreError
from embcompat.migration import abort, cut_over, drop_old, job_of, roll_back, run_migration, sweep, verify_migration
from embcompat.runtime import OnnxAligner

DIM = 24
NEW = "?target=column&key=id,region"


def made(database: Any, rows: int = 60) -> np.ndarray:
    """A table with a list partition, one with range partitions below, and a default one."""
    database.execute(
        f"""
        CREATE TABLE docs (id integer, v vector({DIM}), region text DEFAULT 'eu', title text, PRIMARY KEY (id, region))
            PARTITION BY LIST (region);
        CREATE TABLE docs_eu PARTITION OF docs FOR VALUES IN ('eu');
        CREATE TABLE docs_us PARTITION OF docs FOR VALUES IN ('us') PARTITION BY RANGE (id);
        CREATE TABLE docs_us_low PARTITION OF docs_us FOR VALUES FROM (0) TO (30);
        CREATE TABLE docs_us_high PARTITION OF docs_us FOR VALUES FROM (30) TO (1000);
        CREATE TABLE docs_other PARTITION OF docs DEFAULT;
        """
    )
    vectors = np.random.default_rng(rows).standard_normal((rows, DIM)).astype(np.float32)
    with database.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO docs (id, v, region, title) VALUES (%s, %s, %s, 'x')",
            [(row, str(vector.tolist()), ("eu", "us", "asia")[row % 3]) for row, vector in enumerate(vectors)],
        )
    return vectors


def assert_served(database: Any, expected: dict[int, np.ndarray | None]) -> None:
    rows = dict(database.execute("SELECT id, v::text FROM docs").fetchall())
    assert rows.keys() == expected.keys()
    for row, vector in expected.items():
        assert (rows[row] is None) == (vector is None), f"row {row}"
        if vector is not None:
            result = np.array(json.loads(rows[row]))
            np.testing.assert_allclose(result, vector, rtol=1e-4, atol=1e-5, err_msg=f"row {row}")


def indexes(database: Any) -> dict[str, tuple[str, bool, str | None]]:
    """Table, validity and parent of every vector index that is in service."""
    rows = database.execute(
        "SELECT c.relname, i.indrelid::regclass::text, i.indisvalid, (SELECT inhparent::regclass::text "
        "FROM pg_inherits WHERE inhrelid = c.oid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
        "JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] "
        "WHERE a.attname = 'v' AND i.indrelid::regclass::text ~ '^docs'"
    )
    return {name: (table, valid, parent) for name, table, valid, parent in rows}


def test_all_partitions_are_migrated_there_and_back(database: Any, aligner: OnnxAligner) -> None:
    vectors = made(database)
    database.execute("CREATE INDEX docs_v ON docs USING hnsw (v vector_cosine_ops) WITH (m = 8)")
    database.execute("CREATE INDEX of_eu ON docs_eu USING hnsw (v vector_l2_ops)")
    database.execute("COMMENT ON COLUMN docs_eu.v IS 'of the title'; ALTER TABLE docs_other ALTER v SET STORAGE PLAIN")
    database.execute("CREATE VIEW europeans AS SELECT id, v FROM docs_eu")
    original = indexes(database)
    assert len(original) == 7
    old, new = dict(enumerate(vectors)), dict(enumerate(aligner.transform(vectors)))
    with database.opened(NEW) as store:
        assert run_migration(aligner, store).rows == 60
        assert not verify_migration(aligner, store).problems
        assert_served(database, old)
        cut_over(aligner, store)
        assert_served(database, new)
        assert indexes(database) == original
        assert not list(sweep(aligner, store))
        assert roll_back(aligner, store) == 0
        assert_served(database, old)
        assert indexes(database) == original
        cut_over(aligner, store)
        drop_old(aligner, store)
    assert_served(database, new)
    assert indexes(database) == original
    assert database.one("SELECT vector_dims(v) FROM europeans LIMIT 1") == 16
    place = "attrelid = 'docs_eu'::regclass AND attname = 'v'"
    assert database.one(f"SELECT col_description(attrelid, attnum) FROM pg_attribute WHERE {place}") == "of the title"
    place = "attrelid = 'docs_other'::regclass AND attname = 'v'"
    assert database.one(f"SELECT attstorage FROM pg_attribute WHERE {place}") in ("p", b"p")


def test_partitions_and_rows_that_come_move_and_go_meanwhile(database: Any, aligner: OnnxAligner) -> None:
    vectors = made(database)
    database.execute("CREATE INDEX docs_v ON docs USING hnsw (v vector_cosine_ops)")
    late, job = np.full(DIM, 0.25, np.float32), job_of(aligner.artifact)
    expected: dict[int, np.ndarray | None] = dict(enumerate(vectors))
    with database.opened(NEW) as store:
        run_migration(aligner, store)
        database.execute("UPDATE docs SET region = 'us' WHERE id = 0")  # into another partition
        database.execute("UPDATE docs SET v = %s WHERE id IN (1, 2)", (str(late.tolist()),))
        database.execute("UPDATE docs SET v = NULL WHERE id = 3")
        database.execute("CREATE TABLE docs_ch PARTITION OF docs FOR VALUES IN ('ch')")
        database.execute("INSERT INTO docs (id, v, region) VALUES (100, %s, 'ch')", (str(late.tolist()),))
        database.execute("ALTER TABLE docs DETACH PARTITION docs_us")
        assert store.coverage(job).changed == 2
        database.execute(
            "CREATE TABLE docs_in (LIKE docs INCLUDING ALL); INSERT INTO docs_in (id, v, region) VALUES (101, '"
            f"{late.tolist()}', 'in'); ALTER TABLE docs ATTACH PARTITION docs_in FOR VALUES IN ('in')"
        )
        for row in [0, *range(1, 60, 3)]:
            del expected[row]
        expected |= {2: late, 3: None, 100: late, 101: late}
        cut_over(aligner, store)
    new = {row: None if old is None else aligner.transform(old[np.newaxis])[0] for row, old in expected.items()}
    assert_served(database, new)
    assert all(valid for _, valid, _ in indexes(database).values())
    assert database.one("SELECT vector_dims(v) FROM docs_us LIMIT 1") == DIM, "it is no partition any more"


def test_a_row_that_changes_its_partition_after_the_cutover_keeps_both_vectors(
    database: Any, aligner: OnnxAligner
) -> None:
    vectors = made(database)
    with database.opened(NEW) as store:
        run_migration(aligner, store)
        cut_over(aligner, store)
        database.execute("UPDATE docs SET region = 'us' WHERE id = 0")
        assert not list(sweep(aligner, store))
        assert_served(database, dict(enumerate(aligner.transform(vectors))))
        assert roll_back(aligner, store) == 0
    assert_served(database, dict(enumerate(vectors)))


def test_a_part_of_a_partitioned_table(database: Any, aligner: OnnxAligner) -> None:
    vectors = made(database)
    database.execute("ALTER TABLE docs ALTER v TYPE vector")
    with database.opened(f"{NEW}&where=region='us' AND id < 30") as store:
        assert run_migration(aligner, store).rows == 10
        cut_over(aligner, store)
        new = aligner.transform(vectors)
        expected = {row: new[row] if row % 3 == 1 and row < 30 else vectors[row] for row in range(60)}
        assert_served(database, expected)
        with pytest.raises(psycopg.errors.CheckViolation, match="moves to where vectors must be in space"):
            database.execute("UPDATE docs SET region = 'us' WHERE id = 0")
        with pytest.raises(psycopg.errors.CheckViolation, match="moves to where vectors are not in space"):
            database.execute("UPDATE docs SET region = 'eu' WHERE id = 1")
        database.execute("UPDATE docs SET region = 'ch' WHERE id = 0")
        assert_served(database, expected)
        assert roll_back(aligner, store) == 0
    assert_served(database, dict(enumerate(vectors)))


def test_what_partitions_cannot_do_is_said_before(database: Any, aligner: OnnxAligner) -> None:
    made(database)
    job, schema = job_of(aligner.artifact), database.one("SELECT current_schema()")

    def texts(**options: str) -> str:
        query = options.pop("query", NEW)
        with database.opened(query, **options) as store:
            return " ".join(entry.text for entry in store.obstacles(job)).replace(f"{schema}.", "")

    assert not texts()
    assert "it is partitioned" in texts(query="?key=id,region")
    assert "it is a partition: migrate docs." in texts(table="docs_us_low")
    database.execute("ALTER TABLE docs_eu ADD CHECK (vector_dims(v) = 24)")
    assert "partition docs_eu: constraint docs_eu_v_check" in texts()
    database.execute("ALTER TABLE docs_eu DROP CONSTRAINT docs_eu_v_check; ALTER TABLE docs_eu ALTER v SET NOT NULL")
    assert "partition docs_eu alone forbids NULL in the vector" in texts()
    database.execute("ALTER TABLE docs ALTER v SET NOT NULL")
    assert not texts()
    database.execute(f"ALTER TABLE docs_eu ALTER v SET DEFAULT '{[0.5] * DIM}'")
    assert "default of the vector in partition docs_eu would be lost" in texts()
    database.execute("ALTER TABLE docs_eu ALTER v DROP DEFAULT")
    with database.opened(NEW) as store:
        run_migration(aligner, store)
        cut_over(aligner, store)
        assert roll_back(aligner, store) == 0
        assert abort(aligner, store)
    database.execute(
        f"CREATE TABLE parent (id integer PRIMARY KEY, v vector({DIM})); CREATE TABLE child () INHERITS (parent)"
    )
    database.execute(f"INSERT INTO parent VALUES (1, '{[0.5] * DIM}')")
    for table in ("parent", "child"):
        with database.opened("?target=column&key=id", table=table) as store, pytest.raises(StoreError, match="inherit"):
            run_migration(aligner, store)
