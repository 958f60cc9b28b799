"""What applications write and delete in the moment of a switch, in tables of SQLite."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embcompat.errors import GateError, MigrationError
from embcompat.migration import cut_over, job_of, roll_back, run_migration, sweep
from embcompat.runtime import OnnxAligner
from embcompat.stores import GalleryStore, open_store
from embcompat.stores.sqlite.tables import SqliteTables
from tests.stores.sqlite.test_gallery import connection

DIM, ROWS = 24, 12


@dataclass
class Application:
    """An application with a table of notes, which it changes while it is migrated."""

    path: Path
    aligner: OnnxAligner
    vectors: np.ndarray

    @property
    def old(self) -> str:
        return f"docs__old_v__{self.aligner.artifact.id[:12]}"

    def open(self) -> closing[GalleryStore]:
        return closing(open_store(f"sqlite://{self.path}#docs.v"))

    def run(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with connection(self.path) as database:
            return list(database.execute(statement, values).fetchall())

    def insert(self, table: str, key: int, note: str) -> None:
        dim = DIM if table == self.old else self.aligner.artifact.target.dim
        vector = np.full(dim, key, np.float32)
        self.run(f"INSERT INTO {table} VALUES (?, ?, ?)", key, vector.tobytes(), note)

    def notes(self, table: str = "docs") -> dict[int, str]:
        return dict(self.run(f"SELECT id, note FROM {table}"))

    def converted(self, key: int) -> bool:
        """Return whether the vector in service is what the artifact gives."""
        (vector,) = self.run("SELECT v FROM docs WHERE id = ?", key)
        expected = self.aligner.transform(self.vectors[key % ROWS] if key < ROWS else np.full(DIM, key, np.float32))
        return bool(np.allclose(np.frombuffer(vector[0], np.float32), expected, rtol=1e-4, atol=1e-4))


@pytest.fixture
def application(aligner: OnnxAligner, tmp_path: Path) -> Application:
    vectors = np.random.default_rng(0).standard_normal((ROWS, DIM)).astype(np.float32)
    with connection(tmp_path / "docs.db") as database:
        database.execute(
            "CREATE VIRTUAL TABLE docs USING "
            f"vec0(id INTEGER PRIMARY KEY, v float[{DIM}] distance_metric=cosine, +note TEXT)"
        )
        rows = [(key, vector.tobytes(), f"note {key}") for key, vector in enumerate(vectors)]
        database.executemany("INSERT INTO docs VALUES (?, ?, ?)", rows)
    return Application(tmp_path / "docs.db", aligner, vectors)


def around_switch(
    monkeypatch: pytest.MonkeyPatch,
    *,
    before: Callable[[], object] | None = None,
    after: Callable[[], object] | None = None,
) -> None:
    """Let an application do something right before and right after the next switch."""
    switch = SqliteTables.switch

    def switched(self: Any, name: str, **names: str) -> None:
        if before is not None:
            before()
        switch(self, name, **names)
        monkeypatch.setattr(SqliteTables, "switch", switch)
        if after is not None:
            after()

    monkeypatch.setattr(SqliteTables, "switch", switched)


def test_as_many_rows_deleted_as_written_in_the_moment_of_a_switch(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    def before() -> None:  # after the last reconciliation
        application.run("DELETE FROM docs WHERE id = 1")
        application.run("INSERT INTO docs VALUES (20, ?, 'late')", np.full(DIM, 20, np.float32).tobytes())

    def after() -> None:
        application.run("DELETE FROM docs WHERE id IN (2, 3)")
        application.insert(application.old, 21, "stale")
        application.insert(application.old, 22, "stale")

    with application.open() as store:
        run_migration(application.aligner, store)
        around_switch(monkeypatch, before=before, after=after)
        cut_over(application.aligner, store)
        expected = {key: f"note {key}" for key in range(ROWS) if key not in (1, 2, 3)}
        expected |= {20: "late", 21: "stale", 22: "stale"}
        assert application.notes() == expected
        assert all(application.converted(key) for key in expected)
        assert list(sweep(application.aligner, store)) == []
        application.insert(application.old, 23, "stale")  # as many again, after the cutover
        application.run("DELETE FROM docs WHERE id = 21")
        assert list(sweep(application.aligner, store)) == ["23"]
        assert roll_back(application.aligner, store) == 0
    assert application.notes() == {key: note for key, note in expected.items() if key != 21} | {23: "stale"}


@pytest.mark.parametrize("killed", [False, True])
def test_other_data_that_changes_in_the_moment_of_a_switch(
    killed: bool, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    def after() -> None:
        application.run("UPDATE docs SET note = 'after' WHERE id = 6")
        if killed:
            raise KeyboardInterrupt

    def before() -> None:
        application.run("UPDATE docs SET note = 'before' WHERE id IN (5, 6)")

    with application.open() as store:
        run_migration(application.aligner, store)
        around_switch(monkeypatch, before=before, after=after)
        with pytest.raises(KeyboardInterrupt) if killed else nullcontext():
            cut_over(application.aligner, store)
    with application.open() as store:
        if killed:
            cut_over(application.aligner, store)
        assert list(sweep(application.aligner, store)) == []
        assert not store.unsettled(job_of(application.aligner.artifact))
    expected = {key: f"note {key}" for key in range(ROWS)} | {5: "before", 6: "after"}
    assert application.notes() == expected


def test_a_row_that_comes_in_while_late_rows_are_converted(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    with application.open() as store:
        run_migration(application.aligner, store)
        write = store.write

        def late(*arguments: Any) -> None:
            write(*arguments)
            if application.run("SELECT 1 FROM sqlite_master WHERE name = ?", application.old):
                monkeypatch.setattr(store, "write", write)
                application.insert(application.old, 31, "later")

        around_switch(monkeypatch, after=lambda: application.insert(application.old, 30, "late"))
        monkeypatch.setattr(store, "write", late)
        cut_over(application.aligner, store)
    assert [application.converted(key) for key in (30, 31)] == [True, True]


@pytest.mark.parametrize("failing", ["write", "_settle", "revived"])
def test_a_cutover_that_fails_after_the_switch_is_repeated(
    failing: str, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise KeyboardInterrupt

    with application.open() as store:
        run_migration(application.aligner, store)

        def late() -> None:
            application.run("DELETE FROM docs WHERE id = 4")
            application.insert(application.old, 30, "late")
            monkeypatch.setattr(store, failing, fail)

        around_switch(monkeypatch, after=late)
        with pytest.raises(KeyboardInterrupt):
            cut_over(application.aligner, store)
    with application.open() as store:
        assert store.state(job_of(application.aligner.artifact)).phase == "cut_over"
        assert cut_over(application.aligner, store).phase == "cut_over"
        assert 4 not in application.notes()
        assert application.converted(30)
        with pytest.raises(MigrationError, match="cannot be cut over: the migration is cut over"):
            cut_over(application.aligner, store)
        roll_back(application.aligner, store)
    assert sorted(application.notes()) == sorted({*range(ROWS), 30} - {4})


def test_a_late_row_that_cannot_be_converted_is_left_out_or_ends_the_cutover(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = np.full(DIM, np.nan, np.float32).tobytes()

    def late() -> None:
        application.run(f"INSERT INTO {application.old} VALUES (30, ?, 'broken')", broken)

    with application.open() as store:
        run_migration(application.aligner, store)
        around_switch(monkeypatch, after=late)
        with pytest.raises(GateError, match="has switched, but the cutover is not complete. 1 rows fail; at most 0"):
            cut_over(application.aligner, store)
        cut_over(application.aligner, store, max_failures=1)
        assert list(sweep(application.aligner, store)) == []
        fixed = np.full(DIM, 30, np.float32).tobytes()
        application.run(f"UPDATE {application.old} SET v = ? WHERE id = 30", fixed)
        assert list(sweep(application.aligner, store)) == ["30"]
        cut_over(application.aligner, store)
    assert application.converted(30)


def test_changes_in_the_moment_of_a_rollback(application: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    def before() -> None:  # after what changed was brought back
        application.run("DELETE FROM docs WHERE id = 1")
        application.run("UPDATE docs SET note = 'moment' WHERE id IN (2, 3, 6)")
        application.insert("docs", 40, "new")

    def after() -> None:
        application.run("UPDATE docs SET note = 'after' WHERE id = 3")
        application.run("DELETE FROM docs WHERE id = 7")
        application.run("INSERT INTO docs VALUES (5, ?, 'again')", application.vectors[5].tobytes())

    with application.open() as store:
        run_migration(application.aligner, store)
        cut_over(application.aligner, store)
        application.run("DELETE FROM docs WHERE id = 5")
        application.run("UPDATE docs SET note = 'before' WHERE id IN (4, 6)")
        around_switch(monkeypatch, before=before, after=after)
        roll_back(application.aligner, store)
    changed = {2: "moment", 3: "after", 4: "before", 5: "again", 6: "moment"}
    expected = {key: f"note {key}" for key in range(ROWS) if key not in (1, 7)} | changed
    assert application.notes() == expected


def test_a_row_deleted_between_scan_and_write_stays_deleted(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    with application.open() as store:
        run_migration(application.aligner, store)
        application.run("UPDATE docs SET v = ? WHERE id = 6", application.vectors[7].tobytes())
        write = store.write

        def deleting(*arguments: Any) -> None:
            application.run("DELETE FROM docs WHERE id = 6")
            monkeypatch.setattr(store, "write", write)
            write(*arguments)

        monkeypatch.setattr(store, "write", deleting)
        cut_over(application.aligner, store)
    assert 6 not in application.notes()
