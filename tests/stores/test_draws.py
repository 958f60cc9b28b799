from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from embcompat.errors import InputError, StoreError
from embcompat.stores import sample_gallery

if TYPE_CHECKING:
    from conftest import Database


def test_keys_are_drawn_first_and_their_rows_read(database: Database) -> None:
    database.execute("CREATE TABLE docs (id int PRIMARY KEY, v vector(24), body text)")
    vectors = database.fill("docs", 300)
    database.execute("UPDATE docs SET body = 'text ' || id WHERE id <> 7")
    database.execute("UPDATE docs SET v = NULL WHERE id = 3")
    database.execute("ANALYZE docs")
    with database.opened() as store:
        few = sample_gallery(store, rows=5, space="ada@2", text_column="body")
        drawn = sample_gallery(store, rows=400, space="ada@2", text_column="body")
        assert sample_gallery(store, rows=5, space="ada@2").ids.tolist() == few.ids.tolist()
        wide = sample_gallery(store, rows=5, space="ada@2", text_column="body", include=["3", "11", "900"])
        with pytest.raises(StoreError, match="nothing"):
            sample_gallery(store, rows=5, space="ada@2", label_column="nothing")
    assert len(wide) == 6
    assert wide.texts is not None
    assert wide.texts[wide.ids.tolist().index("11")] == "text 11"
    np.testing.assert_allclose(wide.vectors, vectors[wide.ids.astype(int)], rtol=1e-6)
    rows = drawn.ids.astype(int)
    assert sorted(rows) == [row for row in range(300) if row != 3]
    np.testing.assert_allclose(drawn.vectors, vectors[rows], rtol=1e-6)
    assert drawn.texts is not None
    assert drawn.texts.tolist() == ["" if row == 7 else f"text {row}" for row in rows]


def test_a_condition_is_one_expression_that_writes_nothing(database: Database) -> None:
    database.execute("CREATE TABLE docs (id int PRIMARY KEY, v vector(24), body text)")
    database.fill("docs", 300)
    database.execute("UPDATE docs SET body = CASE WHEN id % 3 = 0 THEN 'it''s 100%' ELSE 'other' END")
    with database.opened() as store:
        for where in ("id % 3 = 0", "body LIKE '%100%'", "body = 'it''s 100%' -- a comment"):
            drawn = sample_gallery(store, rows=400, space="ada@2", where=where)
            assert sorted(drawn.ids.astype(int)) == list(range(0, 300, 3))
        few = sample_gallery(store, rows=5, space="ada@2", where="id > 290 OR id < 2")
        assert len(few) == 5
        assert all(row > 290 or row < 2 for row in few.ids.astype(int))
        bad = ("nothing = 1", "id = ", "1 = 1); DELETE FROM docs; SELECT (1", "setval('s', 1) = 1")
        database.execute("CREATE SEQUENCE s")
        for where in bad:
            with pytest.raises(InputError, match="PostgreSQL cannot evaluate the condition"):
                sample_gallery(store, rows=5, space="ada@2", where=where)
        assert len(sample_gallery(store, space="ada@2")) == 300
