"""What is altered between the steps of a migration is carried over, or stops the swap that would undo it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from embcompat.errors import StoreError
from embcompat.migration import cut_over, plan_migration, roll_back, run_migration
from embcompat.runtime import OnnxAligner

DIM = 24


def test_added_columns_follow_there_and_back(database: Any, aligner: OnnxAligner) -> None:
    database.execute(f"CREATE TABLE docs (id integer PRIMARY KEY, v vector({DIM}), number serial)")
    database.fill("docs", 20)
    with database.opened() as store:
        run_migration(aligner, store)
        database.execute("ALTER TABLE docs ADD late text NOT NULL DEFAULT 'x'; UPDATE docs SET late = 'y' WHERE id = 3")
        database.execute("ALTER TABLE docs ADD random double precision DEFAULT random()")
        original = database.execute("SELECT id, late, random FROM docs ORDER BY id").fetchall()
        cut_over(aligner, store)
        assert database.execute("SELECT id, late, random FROM docs ORDER BY id").fetchall() == original
        database.execute("ALTER TABLE docs ADD later integer DEFAULT 7; UPDATE docs SET later = 8 WHERE id = 4")
        assert roll_back(aligner, store) == 0
        assert database.execute("SELECT id, late, random FROM docs ORDER BY id").fetchall() == original
        assert database.execute("SELECT later, count(*) FROM docs GROUP BY later ORDER BY 1").fetchall() == [
            (7, 19),
            (8, 1),
        ]
        cut_over(aligner, store)
    assert database.one("SELECT later FROM docs WHERE id = 4") == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("ALTER TABLE {} ADD CONSTRAINT small CHECK (number < 1000)", "constraint small"),
        ("ALTER TABLE {} ALTER number SET NOT NULL", "column number integer default 1 not null"),
        ("ALTER TABLE {} ALTER number TYPE bigint", "column number bigint"),
        ("ALTER TABLE {} DROP number", "the other one has column number integer"),
    ],
)
def test_other_changes_stop_the_swap_that_would_undo_them(
    database: Any, aligner: OnnxAligner, change: str, message: str
) -> None:
    database.execute(f"CREATE TABLE docs (id integer PRIMARY KEY, v vector({DIM}), number integer DEFAULT 1)")
    database.fill("docs", 10)
    with database.opened() as store:
        run_migration(aligner, store)
        assert not plan_migration(aligner, store).obstacles
        database.execute("ALTER TABLE docs ADD late text")
        assert not plan_migration(aligner, store).obstacles, "a run carries added columns over"
        database.execute(change.format("docs"))
        texts = [obstacle.text for obstacle in plan_migration(aligner, store).obstacles]
        assert len(texts) == 1
        assert re.search(f"altered meanwhile.*{message}", texts[0])
        with pytest.raises(StoreError, match=f"altered meanwhile.*{message}"):
            cut_over(aligner, store)
        beside = database.one("SELECT relname FROM pg_class WHERE relname ~ '^docs__[0-9a-f_]{19}$'")
        database.execute(change.format(beside))
        cut_over(aligner, store)
    assert database.one("SELECT vector_dims(v) FROM docs WHERE id = 3") == 16
