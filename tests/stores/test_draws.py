from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from embcompat.errors import StoreError
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
        with pytest.raises(StoreError, match="nothing"):
            sample_gallery(store, rows=5, space="ada@2", label_column="nothing")
    rows = drawn.ids.astype(int)
    assert sorted(rows) == [row for row in range(300) if row != 3]
    np.testing.assert_allclose(drawn.vectors, vectors[rows], rtol=1e-6)
    assert drawn.texts is not None
    assert drawn.texts.tolist() == ["" if row == 7 else f"text {row}" for row in rows]
