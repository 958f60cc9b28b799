"""Two workers and an application write the same rows."""

from __future__ import annotations

from itertools import count
from typing import Any

import numpy as np
import pytest

from embcompat.migration import cut_over, job_of, run_migration
from embcompat.runtime import OnnxAligner
from embcompat.stores import vector_digests

DIM = 24
NUMBERS = count()


@pytest.mark.parametrize("title", ["", ", title text"])
@pytest.mark.parametrize("query", ["", "?target=column"])
def test_a_slow_worker_never_brings_an_older_vector_back(
    database: Any, aligner: OnnxAligner, query: str, title: str
) -> None:
    database.execute(f"CREATE TABLE docs (id integer PRIMARY KEY, v vector({DIM}){title})")
    database.fill("docs", 10)
    job = job_of(aligner.artifact)
    late = np.full(DIM, 0.25, np.float32)
    with database.opened(query) as slow, database.opened(query) as quick:
        slow.prepare(job)
        (stale,) = slow.scan(job, batch_size=10, missing_only=True)
        database.execute("UPDATE docs SET v = %s WHERE id = 7", (str(late.tolist()),))
        run_migration(aligner, quick)
        slow.write(job, stale.ids, aligner.transform(stale.vectors), vector_digests(stale.vectors))
        np.testing.assert_allclose(slow.read_target(job, ["7"]).vectors[0], aligner.transform(late), atol=1e-5)
        for rows in slow.scan(job, batch_size=10, missing_only=False):
            np.testing.assert_array_equal(rows.recorded, rows.digests(), "what the quick worker did is done")
        cut_over(aligner, quick)
    actual = np.array(str(database.one("SELECT v::text FROM docs WHERE id = 7"))[1:-1].split(","), float)
    np.testing.assert_allclose(actual, aligner.transform(late), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("query", ["", "?target=column"])
def test_a_worker_that_read_a_change_too_early_leaves_it_to_the_next(
    database: Any, aligner: OnnxAligner, query: str
) -> None:
    database.execute(f"CREATE TABLE docs (id integer PRIMARY KEY, v vector({DIM}))")
    database.fill("docs", 10)
    job = job_of(aligner.artifact)
    first, second = (np.full(DIM, value, np.float32) for value in (0.25, 0.5))
    with database.opened(query) as slow, database.opened(query) as quick:
        run_migration(aligner, quick)
        database.execute("UPDATE docs SET v = %s WHERE id = 7", (str(first.tolist()),))
        (stale,) = slow.scan(job, batch_size=10, missing_only=False)
        database.execute("UPDATE docs SET v = %s WHERE id = 7", (str(second.tolist()),))
        (rows,) = quick.scan(job, batch_size=10, missing_only=False)
        quick.write(job, rows.ids, aligner.transform(rows.vectors), vector_digests(rows.vectors))
        slow.write(job, stale.ids, aligner.transform(stale.vectors), vector_digests(stale.vectors))
        np.testing.assert_allclose(quick.read_target(job, ["7"]).vectors[0], aligner.transform(second), atol=1e-5)
