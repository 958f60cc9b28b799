"""What a DuckDB table holds besides the vector that is converted, and who looks at it meanwhile."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from embcompat.errors import GateError, InputError, StoreError
from embcompat.migration import RunOptions, cut_over, drop_old, job_of, plan_migration, roll_back, run_migration, sweep
from embcompat.runtime import OnnxAligner
from embcompat.stores import GalleryStore, open_store, sample_rows
from embcompat.stores.duckdb import connection as connections
from tests.stores.duckdb.test_gallery import load_vss

DIM = 24
PLAIN = (
    "CREATE TABLE docs (\"I d\" INTEGER PRIMARY KEY, v FLOAT[24] NOT NULL, note VARCHAR DEFAULT 'a, (b', "
    "meta STRUCT(a INTEGER, b VARCHAR[]), kind ENUM('x,', 'y') NOT NULL, price DECIMAL(10, 2), "
    "day DATE DEFAULT DATE '2020-01-01', bytes BLOB DEFAULT 'a'::BLOB)"
)
CALLS = (
    "CREATE TABLE docs (n BIGINT DEFAULT nextval('numbers'), \"I d\" INTEGER PRIMARY KEY, v FLOAT[24], note VARCHAR "
    "CHECK (length(note) > 0), meta STRUCT(a INTEGER, b VARCHAR[]), kind ENUM('x,', 'y'), price DECIMAL(10, 2), "
    "made TIMESTAMP DEFAULT now(), loud VARCHAR GENERATED ALWAYS AS (upper(note)), UNIQUE (n))"
)


def vectors_of(rows: int) -> np.ndarray:
    return np.random.default_rng(rows).standard_normal((rows, DIM)).astype(np.float32)


def fill(path: Path, declaration: str = PLAIN, *, rows: int = 20, hnsw: bool = False, more: str = "") -> np.ndarray:
    """Make a table with views, indexes and comments; return its vectors."""
    vectors = vectors_of(rows)
    with duckdb.connect(str(path)) as database:
        database.execute("CREATE SEQUENCE numbers START 100")
        database.execute(declaration)
        insert = 'INSERT INTO docs ("I d", v, note, meta, kind, price) VALUES (?, ?, ?, ?, ?, ?)'
        for key, vector in enumerate(vectors):
            values = [f"note {key}", {"a": key, "b": ["ü", None]}, "x,", key / 4]
            database.execute(insert, [key, vector.tolist(), *values])
        database.execute("CREATE INDEX \"by Note\" ON docs (note, (kind || 'z'))")
        database.execute("CREATE UNIQUE INDEX by_price ON docs (price)")
        database.execute("COMMENT ON INDEX by_price IS 'unique'")
        database.execute("COMMENT ON TABLE docs IS 'it''s ours'")
        database.execute('CREATE VIEW notes AS SELECT "I d", note FROM docs')
        database.execute("CREATE VIEW everything AS SELECT * FROM docs")
        if hnsw:
            load_vss(database)
            database.execute("CREATE INDEX nearest ON docs USING HNSW (v) WITH (metric = 'ip', M = 8, M0 = 20)")
        database.execute(more)
    return vectors


def look(path: Path) -> dict[str, Any]:
    """Return everything but the vectors."""
    with duckdb.connect(str(path)) as database:

        def rows(statement: str) -> list[Any]:
            return database.execute(statement).fetchall()

        return {
            "rows": rows("SELECT * EXCLUDE (v) FROM docs"),
            "views": rows("SELECT * FROM notes") + rows('SELECT "I d", meta FROM everything'),
            "columns": rows("SELECT name, \"notnull\", dflt_value, pk FROM pragma_table_info('docs')"),
            "indexes": rows("SELECT index_name, sql, is_unique, comment FROM duckdb_indexes() ORDER BY 1"),
            "comments": rows("SELECT comment FROM duckdb_tables() WHERE table_name = 'docs'")
            + rows("SELECT column_name, comment FROM duckdb_columns() WHERE comment IS NOT NULL ORDER BY 1"),
            "constraints": rows("SELECT constraint_text FROM duckdb_constraints() WHERE table_name = 'docs'"),
            "tables": rows("SELECT table_name FROM duckdb_tables() ORDER BY 1"),
        }


def served(path: Path) -> dict[Any, Any]:
    with duckdb.connect(str(path)) as database:
        return dict(database.execute('SELECT "I d", v FROM docs').fetchall())


def opened(path: Path, rest: str = "#docs.v") -> closing[GalleryStore]:
    return closing(open_store(f"duckdb://{path}{rest}"))


@pytest.mark.parametrize("declaration", [PLAIN, CALLS], ids=["plain", "functions"])
def test_a_migration_changes_the_vectors_and_nothing_else(
    declaration: str, aligner: OnnxAligner, tmp_path: Path
) -> None:
    path = tmp_path / "docs.db"
    more = "COMMENT ON COLUMN docs.v IS 'old' " if declaration == PLAIN else ""
    vectors = fill(path, declaration, hnsw=True, more=more)
    initial = look(path)
    expected = aligner.transform(vectors)
    with opened(path) as store:
        run_migration(aligner, store, options=RunOptions(metric="dot"))
        cut_over(aligner, store, options=RunOptions(metric="dot"))
    added = [("docs__v__old_" + aligner.artifact.id[:12],), ("docs__v__provenance",), ("embcompat_memos",)]
    assert look(path) == initial | {"tables": sorted(initial["tables"] + added)}
    rows = served(path)
    np.testing.assert_allclose([rows[key] for key in range(20)], expected, rtol=1e-4, atol=1e-5)
    with opened(path) as store:
        assert not list(sweep(aligner, store))
        drop_old(aligner, store)
    assert look(path) == initial | {"tables": sorted(initial["tables"] + added[1:])}
    with duckdb.connect(str(path)) as database:
        load_vss(database)
        assert database.execute("SELECT metric, dimensions, count FROM pragma_hnsw_index_info()").fetchall() == [
            ("ip", 16, 20)
        ]
        query = 'SELECT "I d" FROM docs ORDER BY array_negative_inner_product(v, ?::FLOAT[16]) LIMIT 1'
        best = int(np.argmax(expected @ expected[3]))
        assert database.execute(query, [expected[3].tolist()]).fetchall() == [(best,)]
        assert "HNSW_INDEX_SCAN" in database.execute("EXPLAIN " + query, [expected[3].tolist()]).fetchall()[0][1]
        with pytest.raises(duckdb.ConstraintException, match="Duplicate key"):
            database.execute("INSERT INTO docs (\"I d\", v, kind) VALUES (3, ?, 'y')", [expected[3].tolist()])


KILLED = """
import os, sys
from embcompat.migration import RunOptions, cut_over, run_migration
from embcompat.runtime import OnnxAligner
from embcompat.stores import open_store
from embcompat.stores.duckdb.connection import DuckFile

aligner, stores = OnnxAligner(sys.argv[1], threads=1), [open_store(url) for url in sys.argv[2:]]
for store in stores:
    store._file.query("SET wal_autocheckpoint = '1TB'")
    run_migration(aligner, store, options=RunOptions(metric="dot"))
DuckFile.checkpoint = lambda file: None
for store in stores:
    cut_over(aligner, store, options=RunOptions(metric="dot"))
os.kill(os.getpid(), 9)
"""


def test_a_process_killed_right_after_the_switch_leaves_a_log_that_replays(
    aligner: OnnxAligner, tmp_path: Path
) -> None:
    paths = [tmp_path / "plain.db", tmp_path / "functions.db"]
    fill(paths[0], PLAIN, hnsw=True, more="COMMENT ON COLUMN docs.v IS 'old'")
    fill(paths[1], CALLS, hnsw=True)
    states = [look(path) for path in paths]
    urls = [f"duckdb://{path}#docs.v" for path in paths]
    command = [sys.executable, "-c", KILLED, str(aligner.artifact.path), *urls]
    assert subprocess.run(command, check=False, timeout=120).returncode == -9
    for path, state in zip(paths, states, strict=True):
        assert path.with_name(path.name + ".wal").stat().st_size > 0
        assert look(path) | {"tables": []} == state | {"tables": []}
        assert {len(vector) for vector in served(path).values()} == {16}
        with opened(path) as store:
            assert store.index_kind() == "HNSW"
            assert roll_back(aligner, store) == 0
        assert look(path) | {"tables": []} == state | {"tables": []}


def test_a_rollback_keeps_what_was_changed_since(aligner: OnnxAligner, tmp_path: Path) -> None:
    path = tmp_path / "docs.db"
    vectors = fill(path, CALLS)
    new = [1.0] * aligner.artifact.target.dim
    with opened(path) as store:
        run_migration(aligner, store)
        cut_over(aligner, store)
        with duckdb.connect(str(path)) as database:
            database.execute('DELETE FROM docs WHERE "I d" = 4')
            database.execute("UPDATE docs SET note = 'touched' WHERE \"I d\" = 5")
            database.execute('UPDATE docs SET v = ? WHERE "I d" = 6', [new])
            database.execute("INSERT INTO docs (\"I d\", v, note) VALUES (50, ?, 'fresh')", [new])
            declared = [50, aligner.artifact.target.id]
            database.execute('INSERT OR REPLACE INTO docs__v__provenance ("I d", v__space) VALUES (?, ?)', declared)
        assert list(sweep(aligner, store)) == ["6"]
        assert [list(rows.ids) for rows in store.written_rows(job_of(aligner.artifact))] == [["50"]]
        assert roll_back(aligner, store) == 2
        rows = served(path)
        assert sorted(rows) == [key for key in [*range(20), 50] if key != 4]
        assert rows[50] is None
        np.testing.assert_array_equal(np.array(rows[6], np.float32), vectors[6])
        cut_over(aligner, store)
    assert (5, "touched") in {row[1:3] for row in look(path)["rows"]}
    rows = served(path)
    assert list(rows[50]) == new
    np.testing.assert_allclose(rows[6], aligner.transform(vectors[6]), rtol=1e-4, atol=1e-5)


def test_a_vector_that_may_not_be_null_stays_so(aligner: OnnxAligner, tmp_path: Path) -> None:
    path = tmp_path / "docs.db"
    fill(path)
    with opened(path) as store:
        run_migration(aligner, store)
        cut_over(aligner, store)
        with duckdb.connect(str(path)) as database:
            database.execute("INSERT INTO docs (\"I d\", v, kind) VALUES (99, ?, 'y')", [[1.0] * 16])
        with pytest.raises(StoreError, match="1 rows would be without a vector, and column 'v' is NOT NULL"):
            roll_back(aligner, store)
        with duckdb.connect(str(path)) as database:
            database.execute('DELETE FROM docs WHERE "I d" = 99')
        assert roll_back(aligner, store) == 0
        with duckdb.connect(str(path)) as database:
            database.execute('UPDATE docs SET v = ? WHERE "I d" = 7', [[0.0] * DIM])
        with pytest.raises(StoreError, match="1 rows would be without a vector"):
            cut_over(aligner, store, max_failures=1)
    assert {len(vector) for vector in served(path).values()} == {DIM}


@pytest.mark.parametrize("kind", ["FLOAT[]", "DOUBLE[]", "DOUBLE[24]"])
def test_other_vector_types_keep_their_type(kind: str, aligner: OnnxAligner, tmp_path: Path) -> None:
    path, vectors = tmp_path / "docs.db", vectors_of(9)
    with duckdb.connect(str(path)) as database:
        database.execute(f'CREATE TABLE docs ("I d" VARCHAR PRIMARY KEY, v {kind})')
        for key, vector in enumerate(vectors.tolist()):
            database.execute("INSERT INTO docs VALUES (?, ?)", [str(key), vector if key != 4 else [None, *vector[1:]]])
        database.execute("INSERT INTO docs VALUES ('empty', NULL)")
    with opened(path) as store:
        report = run_migration(aligner, store)
        assert [failure.id for failure in report.failures] == ["4"]
        with pytest.raises(GateError, match="1 rows could not be converted"):
            cut_over(aligner, store)
        cut_over(aligner, store, max_failures=1)
        rows = served(path)
        assert rows.pop("empty") is None
        assert rows.pop("4") is None
        expected = aligner.transform(vectors)
        for key, vector in rows.items():
            np.testing.assert_allclose(vector, expected[int(key)], rtol=1e-4, atol=1e-5)
        with duckdb.connect(str(path)) as database:
            (declared,) = database.execute("SELECT type FROM pragma_table_info('docs') WHERE name = 'v'").fetchone()
        assert declared == kind.replace("24", "16")
        roll_back(aligner, store)
    np.testing.assert_array_equal(np.array(served(path)["3"], np.float32), vectors[3])


def test_lists_of_several_lengths_are_refused(aligner: OnnxAligner, tmp_path: Path) -> None:
    path, vectors = tmp_path / "docs.db", vectors_of(9)
    with duckdb.connect(str(path)) as database:
        database.execute('CREATE TABLE docs ("I d" INTEGER PRIMARY KEY, v FLOAT[])')
        for key, vector in enumerate(vectors.tolist()):
            database.execute("INSERT INTO docs VALUES (?, ?)", [key, vector if key < 7 else vector[:5]])
    with opened(path) as store, pytest.raises(StoreError, match="2 rows have vectors of another length than 24"):
        run_migration(aligner, store)


def test_what_cannot_be_kept_is_refused_before_anything_is_written(aligner: OnnxAligner, tmp_path: Path) -> None:
    path = tmp_path / "docs.db"
    fill(path, CALLS, more="COMMENT ON COLUMN docs.note IS 'text'")
    job = job_of(aligner.artifact)
    with duckdb.connect(str(path)) as database:
        database.execute('CREATE TABLE child (doc INTEGER REFERENCES docs ("I d"))')
        database.execute("CREATE TABLE checked (id INTEGER PRIMARY KEY, v FLOAT[24] CHECK (array_length(v) = 24))")
        database.execute("CREATE TABLE used (id INTEGER PRIMARY KEY, v FLOAT[24], w FLOAT[24] AS (array_value(v[1])))")
    with opened(path) as store:
        plan = plan_migration(aligner, store)
        texts = [entry.text for entry in store.obstacles(replace(job, text_column="body"))]
        assert "foreign keys refer to. They are in main.child" in texts[0]
        assert "There is no column 'body'. Columns: n, I d" in texts[1]
        assert "The comments of columns (note) would be lost" in texts[2]
        assert len(plan.obstacles) == 2
        with pytest.raises(StoreError, match="foreign keys"):
            run_migration(aligner, store, options=RunOptions(accept_changes=True))
        assert store.leftovers(job) == []
    with opened(path, "#checked.v") as store, pytest.raises(StoreError, match="Constraints look at the vector: CHECK"):
        run_migration(aligner, store)


def test_comments_are_given_up_only_where_the_user_says_so(aligner: OnnxAligner, tmp_path: Path) -> None:
    path = tmp_path / "docs.db"
    fill(path, CALLS, more="COMMENT ON COLUMN docs.note IS 'text'")
    initial = look(path)
    with opened(path) as store:
        with pytest.raises(StoreError, match="comments of columns"):
            run_migration(aligner, store)
        assert look(path) == initial
        run_migration(aligner, store, options=RunOptions(accept_changes=True))
        cut_over(aligner, store, options=RunOptions(accept_changes=True))
    assert look(path)["comments"] == [("it's ours",)]


def test_names_and_schemas_are_those_of_the_file(aligner: OnnxAligner, tmp_path: Path) -> None:
    path, vectors = tmp_path / "docs.db", vectors_of(6)
    with duckdb.connect(str(path)) as database:
        database.execute('CREATE SCHEMA "My.Schema"')
        database.execute('CREATE TABLE "My.Schema"."Do""c (s)" ("space" UUID, "order" HUGEINT, "V,v" FLOAT[24])')
        insert = 'INSERT INTO "My.Schema"."Do""c (s)" VALUES (uuid(), ?, ?)'
        for key, vector in enumerate(vectors.tolist()):
            database.execute(insert, [2**100 + key, vector])
    rest = '#my%2Eschema.DO"C%20(s).v,V?key=space,ORDER'
    with opened(path, rest) as store:
        assert plan_migration(aligner, store).copied_bytes > 0
        run_migration(aligner, store)
        cut_over(aligner, store)
        assert sample_rows(store, rows=2, where='"order" % 2 = 0', label_column="Order").labels is not None
    with duckdb.connect(str(path)) as database:
        rows = database.execute('SELECT "order", "V,v" FROM "My.Schema"."Do""c (s)" ORDER BY 1').fetchall()
    assert [key for key, _ in rows] == [2**100 + key for key in range(6)]
    np.testing.assert_allclose([vector for _, vector in rows], aligner.transform(vectors), rtol=1e-4, atol=1e-5)


def test_a_sample_takes_conditions_and_columns(aligner: OnnxAligner, tmp_path: Path) -> None:
    path = tmp_path / "docs.db"
    vectors = fill(path)
    url = f"duckdb://{path}#docs.v"
    rows = sample_rows(url, rows=5, text_column="note", label_column="kind", where="price > 1 -- not the first")
    assert len(rows) == 5
    assert set(rows.labels or ()) == {"x,"}
    for key, vector, note in zip(rows.ids, rows.vectors, rows.texts or (), strict=True):
        assert note == f"note {key}"
        assert int(key) > 4
        np.testing.assert_array_equal(vector, vectors[int(key)])
    assert list(rows.ids) == list(sample_rows(url, rows=5, where="price > 1").ids)
    assert len(sample_rows(url)) == 20
    for condition in ("nonsense =", "true); DROP TABLE docs; SELECT (1"):
        with pytest.raises(InputError, match="condition"):
            sample_rows(url, where=condition)
    with pytest.raises(StoreError, match="there is no column 'colour'. Columns: I d"):
        sample_rows(url, text_column="colour")
    with opened(path) as store, pytest.raises(StoreError, match="not ids of keys of kind"):
        store.look_up(job_of(aligner.artifact), ["seven"])


def test_a_table_made_anew_under_the_name_of_a_migrated_one(aligner: OnnxAligner, tmp_path: Path) -> None:
    path = tmp_path / "docs.db"
    fill(path)
    job = job_of(aligner.artifact)
    with opened(path) as store:
        run_migration(aligner, store)
        cut_over(aligner, store)
    with duckdb.connect(str(path)) as database:
        database.execute("DROP TABLE docs")
        database.execute('CREATE TABLE docs ("I d" INTEGER PRIMARY KEY, v FLOAT[24])')
        database.execute("INSERT INTO docs VALUES (1, ?)", [vectors_of(1)[0].tolist()])
    with opened(path) as store:
        assert store.copied_bytes() > 0
        assert (store.state(job).phase, store.state(job).space) == ("untouched", None)
        run_migration(aligner, store)
        cut_over(aligner, store)
        assert store.coverage(job).converted == 1
        assert roll_back(aligner, store) == 0
    np.testing.assert_array_equal(np.array(served(path)[1], np.float32), vectors_of(1)[0])


OTHER = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "reader")
print("open", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("other", ["reader", "writer"])
def test_another_process_that_has_the_file_open(other: str, aligner: OnnxAligner, tmp_path: Path) -> None:
    path = tmp_path / "docs.db"
    fill(path)
    command = [sys.executable, "-c", OTHER, str(path), other]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        message = f"is open in another process .*PID {process.pid}.*Close the file there"
        if other == "writer":
            with pytest.raises(StoreError, match=message):
                open_store(f"duckdb://{path}#docs.v")
        else:
            with opened(path) as store:
                assert plan_migration(aligner, store).missing == 20
                assert len(sample_rows(store, rows=3)) == 3
                with pytest.raises(StoreError, match=message):
                    run_migration(aligner, store)
                assert store.coverage(job_of(aligner.artifact)).rows == 20
                process.communicate("")
                assert run_migration(aligner, store).rows == 20
        process.communicate("")


def test_a_thread_that_writes_during_the_cutover_loses_nothing(aligner: OnnxAligner, tmp_path: Path) -> None:
    path = tmp_path / "docs.db"
    fill(path)
    with opened(path) as store, duckdb.connect(str(path)) as database:
        run_migration(aligner, store)
        database.execute('UPDATE docs SET v = ? WHERE "I d" = 3', [vectors_of(1)[0].tolist()])
        refusals = []

        def write() -> None:
            try:
                database.execute('DELETE FROM docs WHERE "I d" = 5')
            except duckdb.TransactionException as error:
                refusals.append(str(error))

        convert = store._convert_last  # type: ignore[attr-defined]

        def convert_and_write(*arguments: Any) -> None:
            convert(*arguments)
            write()

        store._convert_last = convert_and_write  # type: ignore[attr-defined]
        cut_over(aligner, store)
        assert len(refusals) == 1
        assert "has been altered by a different transaction" in refusals[0]
        write()
        rows = dict(database.execute('SELECT "I d", v FROM docs').fetchall())
    assert sorted(rows) == [key for key in range(20) if key != 5]
    np.testing.assert_allclose(rows[3], aligner.transform(vectors_of(1)[0]), rtol=1e-4, atol=1e-5)


def test_an_hnsw_index_needs_its_extension(
    aligner: OnnxAligner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "docs.db"
    fill(path, hnsw=True)
    with opened(path) as store:
        notes = store.notes(job_of(aligner.artifact))
        assert ["ef_construction and ef_search will be the defaults" in note for note in notes] == [True]
    monkeypatch.setattr(connections, "find_spec", {}.get)
    monkeypatch.setenv("HOME", str(tmp_path))
    with opened(path) as store:
        assert len(sample_rows(store, rows=3)) == 3
        with pytest.raises(StoreError, match=r"the extension vss is not installed.*embcompat\[duckdb\]"):
            run_migration(aligner, store)


def test_addresses_that_lead_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "docs.db"
    fill(path, rows=2)
    with duckdb.connect(str(path)) as database:
        columns = "i % 3 AS id, i AS row, 1.5 AS price, [1.0]::FLOAT[1] AS v"
        database.execute(f"CREATE TABLE bare AS SELECT {columns} FROM range(9) t(i)")
    for rest, message in (
        ("docs", "has the form duckdb:///file.db#schema.table.column"),
        ("none.v", "there is no table 'none'. Tables: bare, docs"),
        ("other.docs.v", "there is no table 'other.docs'"),
        ("everything.v", "It is a view: name the table that it reads"),
        ("docs.note", "vectors are FLOAT.n., not VARCHAR, in 'note'. Vector columns: v"),
        ("docs.w", "there is no column 'w'. Vector columns: v"),
        ("bare.v", "the table has no primary key. Choose the column of the key with .key=. Possible columns: id, row"),
        ("bare.v?key=id", "the key id must differ in every row. Got .0,. in several"),
        ("bare.v?key=price", "keys must be integers, VARCHAR or UUID. Column 'price' is DECIMAL"),
        ("bare.v?key=none", "there is no column 'none'"),
        ("bare.v?target=w", "takes only key after"),
    ):
        with pytest.raises(InputError, match=message):
            open_store(f"duckdb://{path}#{rest}")
    with closing(open_store(f"duckdb://{path}#bare.v?key=id,row")) as store:
        assert store.dim() == 1
    with pytest.raises(InputError, match="there is no DuckDB file"):
        open_store("duckdb:///nowhere.db#docs.v")
    (tmp_path / "text.db").write_text("no database, but long enough to be taken for one" * 9)
    with pytest.raises(StoreError, match="not a valid DuckDB database file"):
        open_store(f"duckdb://{tmp_path}/text.db#docs.v")
    with duckdb.connect(str(path), config={"threads": 1}), pytest.raises(StoreError, match="with other settings"):
        open_store(f"duckdb://{path}#docs.v")
