from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from embcompat.migration import cut_over, drop_old, job_of, roll_back, run_migration
from embcompat.runtime import OnnxAligner

DIM = 24
IDS = [str(row) for row in range(8)]


@pytest.mark.parametrize("query", ["", "?target=column"])
def test_a_reader_follows_every_switch_that_another_process_makes(
    database: Any, aligner: OnnxAligner, query: str
) -> None:
    database.execute(f"CREATE TABLE docs (id integer PRIMARY KEY, v vector({DIM}))")
    expected = aligner.transform(database.fill("docs", 10))[:8]
    job = job_of(aligner.artifact)
    with database.opened(query) as reader, database.opened(query) as other:
        assert len(reader.read_target(job, IDS)) == 0
        for switch in (run_migration, cut_over, roll_back, cut_over, drop_old):
            switch(aligner, other)
            for _ in range(2):
                rows = reader.read_target(job, IDS)
                order = [rows.ids.index(identifier) for identifier in IDS]
                np.testing.assert_allclose(rows.vectors[order], expected, atol=1e-5)


def test_a_reader_sees_rows_that_come_and_go(database: Any, aligner: OnnxAligner) -> None:
    database.execute(f"CREATE TABLE docs (id integer PRIMARY KEY, v vector({DIM}))")
    database.fill("docs", 10)
    job = job_of(aligner.artifact)
    with database.opened() as store:
        run_migration(aligner, store)
        assert len(store.read_target(job, IDS)) == 8
        other = np.full((1, job.target.dim), 0.25, np.float32)
        store.write_native(job, ["3"], other)
        rows = store.read_target(job, ["3", "4"])
        assert dict(zip(rows.ids, rows.native.tolist(), strict=True)) == {"3": True, "4": False}
        np.testing.assert_allclose(rows.vectors[list(rows.ids).index("3")], other[0], atol=1e-5)
        cut_over(aligner, store)
        database.execute("DELETE FROM docs WHERE id = 3")
        assert list(store.read_target(job, ["3", "4"]).ids) == ["4"]


def test_keys_of_two_columns_and_keys_that_need_quoting(database: Any, aligner: OnnxAligner) -> None:
    database.execute(f"CREATE TABLE docs (id integer, part text, v vector({DIM}), PRIMARY KEY (id, part))")
    vector = str([0.5] * DIM)
    for part in ("a", "it's", "100%"):
        database.execute("INSERT INTO docs VALUES (1, %s, %s)", (part, vector))
    job = job_of(aligner.artifact)
    with database.opened() as store:
        (rows,) = store.scan(job, batch_size=10, missing_only=False)
        run_migration(aligner, store)
        assert sorted(store.read_target(job, rows.ids).ids) == sorted(rows.ids)
        assert sorted(store.read_target(job, rows.ids).ids) == sorted(rows.ids)


@pytest.mark.parametrize("kind", ["text", "varchar(20)"])
def test_texts_of_one_key_column_are_taken_as_they_are(database: Any, aligner: OnnxAligner, kind: str) -> None:
    database.execute(f"CREATE TABLE docs (id {kind} PRIMARY KEY, v vector({DIM}))")
    vector = str([0.5] * DIM)
    keys = ["a,b", "NULL", "null", "", " ", "it's", '{"x"}', "back\\slash", "100%", "é", "123"]
    for key in keys:
        database.execute("INSERT INTO docs VALUES (%s, %s)", (key, vector))
    job = job_of(aligner.artifact)
    with database.opened() as store:
        run_migration(aligner, store)
        assert sorted(store.read_target(job, keys).ids) == sorted(keys)
        for key in keys:
            assert list(store.read_target(job, [key]).ids) == [key]
        assert sorted(store.look_up(job, keys)[0].ids) == sorted(keys)
        assert sorted(store.read(job, keys[:6]).ids) == sorted(keys[:6])
