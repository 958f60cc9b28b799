"""What a vec0 table holds besides the vector that is converted, and who looks at it meanwhile."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embcompat.errors import InputError, MigrationError, MissingExtraError, StoreError
from embcompat.migration import RunOptions, cut_over, drop_old, job_of, roll_back, run_migration, sweep
from embcompat.runtime import OnnxAligner
from embcompat.stores import open_store, sample_rows
from embcompat.stores.sqlite import connection as connections
from embcompat.stores.sqlite.connection import SqliteFile
from embcompat.stores.sqlite.definition import read_definition
from tests.stores.sqlite.test_gallery import connection

DIM = 24
DECLARATION = (
    "CREATE VIRTUAL TABLE docs USING vec0(id INTEGER PRIMARY KEY, tenant TEXT PARTITION KEY, v float[24] "
    "distance_metric=cosine, stars FLOAT, good BOOLEAN, +note TEXT, +blob BLOB, chunk_size=16)"
)


def fill(path: Path, rows: int = 20, *, mode: str = "wal") -> np.ndarray:
    """Make a table with one column of each kind, and a view of it; return its vectors."""
    vectors = np.random.default_rng(rows).standard_normal((rows, DIM)).astype(np.float32)
    with connection(path) as database:
        database.execute(f"PRAGMA journal_mode = {mode}")
        database.execute(DECLARATION)
        database.execute("CREATE VIEW notes AS SELECT id, note FROM docs")
        for key, vector in enumerate(vectors):
            values = (key, f"t{key % 2}", vector.tobytes(), key / 4, key % 2, f"note {key}", bytes([key, 0]))
            database.execute("INSERT INTO docs VALUES (?, ?, ?, ?, ?, ?, ?)", values)
    return vectors


def others(path: Path) -> list[tuple[object, ...]]:
    with connection(path) as database:
        rows = database.execute("SELECT id, tenant, stars, good, note, blob FROM docs ORDER BY id").fetchall()
        assert database.execute("SELECT * FROM notes ORDER BY id").fetchall() == [(row[0], row[4]) for row in rows]
    return rows


def declaration(path: Path) -> str:
    with connection(path) as database:
        return str(database.execute("SELECT sql FROM sqlite_master WHERE name = 'docs'").fetchone()[0])


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_migration_changes_the_vectors_and_nothing_else(mode: str, aligner: OnnxAligner, tmp_path: Path) -> None:
    path = tmp_path / "docs.db"
    vectors = fill(path, mode=mode)
    contents = others(path)
    with closing(open_store(f"sqlite://{path}#docs.v")) as store:
        run_migration(aligner, store)
        cut_over(aligner, store)
        assert others(path) == contents
        drop_old(aligner, store)
    assert others(path) == contents
    changed = DECLARATION.replace("float[24]", f"float[{aligner.artifact.target.dim}]")
    assert declaration(path).partition("vec0")[2] == changed.partition("vec0")[2]
    with connection(path) as database:
        rows = database.execute("SELECT id, v FROM docs WHERE tenant = 't1' ORDER BY id").fetchall()
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    np.testing.assert_allclose(
        [np.frombuffer(v, np.float32) for _, v in rows], aligner.transform(vectors)[1::2], rtol=1e-4, atol=1e-5
    )
    assert not [name for name in tables if "old" in name or aligner.artifact.id[:12] in name]


def test_a_transaction_that_began_before_the_cutover_sees_the_old_table(aligner: OnnxAligner, tmp_path: Path) -> None:
    path = tmp_path / "docs.db"
    vectors = fill(path)
    with connection(path) as reader, closing(open_store(f"sqlite://{path}#docs.v")) as store:
        run_migration(aligner, store)
        reader.execute("BEGIN")
        query = "SELECT v FROM docs WHERE id = 3"
        assert reader.execute(query).fetchone()[0] == vectors[3].tobytes()
        cut_over(aligner, store)
        assert reader.execute(query).fetchone()[0] == vectors[3].tobytes()
        reader.commit()
        assert len(reader.execute(query).fetchone()[0]) == 4 * aligner.artifact.target.dim


def test_the_metric_changes_only_where_the_user_says_so(aligner: OnnxAligner, tmp_path: Path) -> None:
    path = tmp_path / "docs.db"
    fill(path)
    job = job_of(aligner.artifact)
    with closing(open_store(f"sqlite://{path}#docs.v")) as store:
        assert [entry.text for entry in store.obstacles(replace(job, metric="dot"))] == [
            "vec0 tables compare by cosine or euclidean, not by dot."
        ]
        assert ["no column 'text'" in entry.text for entry in store.obstacles(replace(job, text_column="text"))] == [
            True
        ]
        run_migration(aligner, store, options=RunOptions(metric="euclidean"))
        cut_over(aligner, store, options=RunOptions(metric="euclidean"))
    assert "distance_metric=L2" in declaration(path)
    assert "cosine" not in declaration(path)


def test_a_rollback_keeps_what_was_changed_since(aligner: OnnxAligner, tmp_path: Path) -> None:
    path = tmp_path / "docs.db"
    vectors = fill(path)
    new = np.ones(aligner.artifact.target.dim, np.float32).tobytes()
    with closing(open_store(f"sqlite://{path}#docs.v")) as store:
        run_migration(aligner, store)
        cut_over(aligner, store)
        with connection(path) as database:
            database.execute("DELETE FROM docs WHERE id = 4")
            database.execute("UPDATE docs SET note = 'touched' WHERE id = 5")
            database.execute("UPDATE docs SET v = ? WHERE id = 6", (new,))
            database.execute("INSERT INTO docs VALUES (50, 't0', ?, 1.0, 1, 'fresh', NULL)", (new,))
            declared = (50, aligner.artifact.target.id)
            database.execute("INSERT INTO docs__v__provenance (key, space) VALUES (?, ?)", declared)
        assert list(sweep(aligner, store)) == ["6"]
        assert roll_back(aligner, store) == 2
        with connection(path) as database:
            rows = {key: (v, note) for key, v, note in database.execute("SELECT id, v, note FROM docs").fetchall()}
        assert sorted(rows) == [key for key in range(20) if key != 4]
        assert rows[5] == (vectors[5].tobytes(), "touched")
        assert rows[6] == (vectors[6].tobytes(), "note 6")
        cut_over(aligner, store)
    with connection(path) as database:
        rows = {key: (v, note) for key, v, note in database.execute("SELECT id, v, note FROM docs").fetchall()}
    assert rows[50] == (new, "fresh")
    assert rows[5][1] == "touched"


def test_other_vectors_are_kept_whatever_their_type(aligner: OnnxAligner, tmp_path: Path) -> None:
    path = tmp_path / "docs.db"
    vectors = np.random.default_rng(0).standard_normal((5, DIM)).astype(np.float32)
    with connection(path) as database:
        database.execute(
            "CREATE VIRTUAL TABLE docs USING vec0(v float[24] distance_metric=cosine, w int8[3], b bit[8])"
        )
        for key, vector in enumerate(vectors):
            insert = "INSERT INTO docs (rowid, v, w, b) VALUES (?, ?, vec_int8(?), vec_bit(?))"
            database.execute(insert, (key, vector.tobytes(), bytes([key, 1, 255]), bytes([key])))
    with closing(open_store(f"sqlite://{path}#docs.v")) as store:
        run_migration(aligner, store)
        cut_over(aligner, store)
    with connection(path) as database:
        rows = database.execute("SELECT rowid, w, b FROM docs ORDER BY rowid").fetchall()
    assert rows == [(key, bytes([key, 1, 255]), bytes([key])) for key in range(5)]


def test_names_in_another_letter_case_are_the_same(aligner: OnnxAligner, tmp_path: Path) -> None:
    path = tmp_path / "docs.db"
    fill(path)
    with closing(open_store(f"sqlite://{path}#DOCS.V")) as store:
        assert store.obstacles(replace(job_of(aligner.artifact), text_column="NOTE")) == []
        run_migration(aligner, store)
        cut_over(aligner, store)
    assert sample_rows(f"sqlite://{path}#Docs.v", rows=1, text_column="Note").texts
    with closing(open_store(f"sqlite://{path}#docs.v")) as store:
        assert store.state(job_of(aligner.artifact)).phase == "cut_over"
        assert list(sweep(aligner, store)) == []
        roll_back(aligner, store)


def test_a_table_that_was_dropped_and_made_again_is_another_one(aligner: OnnxAligner, tmp_path: Path) -> None:
    path = tmp_path / "docs.db"
    fill(path)
    with closing(open_store(f"sqlite://{path}#docs.v")) as store:
        run_migration(aligner, store)
        cut_over(aligner, store)
        drop_old(aligner, store)
    with connection(path) as database:
        database.execute("DROP VIEW notes")
        database.execute("DROP TABLE docs")
    vectors = fill(path)
    with closing(open_store(f"sqlite://{path}#docs.v")) as store:
        state = store.state(job_of(aligner.artifact))
        assert (state.phase, state.space) == ("untouched", None)
        run_migration(aligner, store)
        cut_over(aligner, store)
    with connection(path) as database:
        rows = database.execute("SELECT v FROM docs ORDER BY id").fetchall()
    converted = [np.frombuffer(vector, np.float32) for (vector,) in rows]
    np.testing.assert_allclose(converted, aligner.transform(vectors), rtol=1e-4, atol=1e-5)


def test_an_empty_table_has_provenance_from_the_beginning(aligner: OnnxAligner, tmp_path: Path) -> None:
    path = tmp_path / "docs.db"
    with connection(path) as database:
        database.execute("CREATE VIRTUAL TABLE docs USING vec0(v float[24] distance_metric=cosine)")
    with closing(open_store(f"sqlite://{path}#docs.v")) as store:
        run_migration(aligner, store)
        cut_over(aligner, store)
        native = np.ones(aligner.artifact.target.dim, np.float32).tobytes()
        with connection(path) as database:
            database.execute("INSERT INTO docs (rowid, v) VALUES (1, ?)", (native,))
            declared = (1, aligner.artifact.target.id)
            database.execute("INSERT INTO docs__v__provenance (key, space) VALUES (?, ?)", declared)
        assert list(sweep(aligner, store)) == []
        assert store.coverage(job_of(aligner.artifact)).native == 1


def test_the_old_table_of_a_column_can_be_dropped_after_the_next_column(aligner: OnnxAligner, tmp_path: Path) -> None:
    path = tmp_path / "docs.db"
    with connection(path) as database:
        columns = "v float[24] distance_metric=cosine, w float[24] distance_metric=cosine"
        database.execute(f"CREATE VIRTUAL TABLE docs USING vec0({columns})")
        for key, vector in enumerate(np.random.default_rng(0).standard_normal((5, DIM)).astype(np.float32)):
            row = (key, vector.tobytes(), vector[::-1].tobytes())
            database.execute("INSERT INTO docs (rowid, v, w) VALUES (?, ?, ?)", row)
    with (
        closing(open_store(f"sqlite://{path}#docs.v")) as first,
        closing(open_store(f"sqlite://{path}#docs.w")) as second,
    ):
        for store in (first, second):
            run_migration(aligner, store)
            cut_over(aligner, store)
        with pytest.raises(MigrationError, match="cannot be rolled back: 'w' was cut over since. Roll that back first"):
            roll_back(aligner, first)
        assert [list(sweep(aligner, store)) for store in (first, second)] == [[], []]
        drop_old(aligner, first)
        roll_back(aligner, second)
        cut_over(aligner, second)
        drop_old(aligner, second)
        assert [store.state(job_of(aligner.artifact)).phase for store in (first, second)] == ["finished"] * 2
    with connection(path) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE name LIKE '%old%'")]
    assert tables == []


def test_another_metric_is_refused_once_the_migration_has_begun(aligner: OnnxAligner, tmp_path: Path) -> None:
    fill(tmp_path / "docs.db")
    with closing(open_store(f"sqlite://{tmp_path}/docs.db#docs.v")) as store:
        run_migration(aligner, store, options=RunOptions(metric="euclidean"))
        with pytest.raises(MigrationError, match="with the metric euclidean, which --metric cosine cannot change"):
            run_migration(aligner, store, options=RunOptions(metric="cosine"))
        run_migration(aligner, store)
        cut_over(aligner, store)
    assert "distance_metric=L2" in declaration(tmp_path / "docs.db")


def test_a_commit_that_fails_leaves_no_transaction_open(tmp_path: Path) -> None:
    path = tmp_path / "docs.db"
    fill(path, 2)
    with closing(SqliteFile(path, where="the file")) as file:
        file.query("PRAGMA foreign_keys = ON")
        file.query("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
        file.query("CREATE TABLE child (id REFERENCES parent DEFERRABLE INITIALLY DEFERRED)")
        for _ in range(2):
            with pytest.raises(StoreError, match="FOREIGN KEY"), file.transaction():
                file.query("INSERT INTO child VALUES (7)")
        assert file.query("SELECT count(*) FROM child") == [(0,)]


def test_a_sample_takes_conditions_and_columns(aligner: OnnxAligner, tmp_path: Path) -> None:
    path = tmp_path / "docs.db"
    vectors = fill(path)
    url = f"sqlite://{path}#docs.v"
    rows = sample_rows(url, rows=5, text_column="note", label_column="tenant", where="tenant = 't1' AND stars > 1")
    assert len(rows) == 5
    assert set(rows.labels or ()) == {"t1"}
    for key, vector, note in zip(rows.ids, rows.vectors, rows.texts or (), strict=True):
        assert note == f"note {key}"
        np.testing.assert_array_equal(vector, vectors[int(key)])
    with pytest.raises(InputError, match="cannot evaluate the condition 'nonsense ='"):
        sample_rows(url, where="nonsense =")
    with pytest.raises(StoreError, match="there is no column 'colour'. Columns: tenant"):
        sample_rows(url, text_column="colour")


def test_addresses_that_lead_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "docs.db"
    fill(path, 2)
    with connection(path) as database:
        database.execute("CREATE TABLE plain (id INTEGER PRIMARY KEY, v BLOB)")
        database.execute("CREATE VIRTUAL TABLE bits USING vec0(v bit[8])")
    for name, message in (
        ("docs", "has the form sqlite:///file.db#table.column"),
        ("none.v", "there is no table 'none'. vec0 tables: docs, bits"),
        ("plain.v", "only vec0 tables of sqlite-vec can be migrated"),
        ("docs.w", "there is no vector column 'w'. Vector columns: v"),
        ("bits.v", "column 'v' must hold floats. It holds bit"),
        ("docs.v?key=id", "takes nothing after"),
    ):
        with pytest.raises(InputError, match=message):
            open_store(f"sqlite://{path}#{name}")
    with pytest.raises(InputError, match="there is no SQLite file"):
        open_store("sqlite:///nowhere.db#docs.v")
    (tmp_path / "text.db").write_text("no database, but long enough to be taken for one" * 9)
    with pytest.raises(StoreError, match="file is not a database"):
        open_store(f"sqlite://{tmp_path}/text.db#docs.v")
    with (
        closing(open_store(f"sqlite://{path}#docs.v")) as store,
        pytest.raises(StoreError, match="keys .* are integers"),
    ):
        store.look_up(None, ["seven"])  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "pysqlite3", None)
    monkeypatch.delattr(connections.sqlite3.Connection, "enable_load_extension", raising=False)
    with pytest.raises(MissingExtraError, match=r"loads no extensions.*embcompat\[sqlite\]"):
        open_store(f"sqlite://{path}#docs.v")


def test_a_definition_without_a_key_has_row_numbers() -> None:
    statement = "create virtual table t using vec0(\n  v FLOAT[3], -- the title, old\n w float[4] /* (more) */)"
    definition = read_definition(statement, "w", where="t")
    assert (definition.key, definition.text_key, definition.others) == ("rowid", False, ("v",))
    assert definition.metric == "l2"
    assert definition.arguments_for(9, "cosine") == "v FLOAT[3], w float[9] distance_metric=cosine"
