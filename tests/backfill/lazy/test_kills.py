"""A lazy backfill that is killed at random moments: no vector is torn, and little is paid for twice."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from embcompat.embeddings import Embeddings, normalize_rows
from embcompat.spaces import SpaceVersion
from embcompat.stores import Job, open_store, row_digests

DIM, ITEMS, BATCH = 16, 400, 8
OLD = SpaceVersion(name="old", version="1", dim=DIM, normalized=True)
NEW = SpaceVersion(name="new", version="1", dim=DIM, normalized=True)
JOB = Job("a" * 64, OLD, NEW)

KILLED = """
import os, random, signal, sys, threading
import numpy as np
from embcompat.backfill import LazyBackfill
from embcompat.embeddings import Embeddings
from embcompat.stores import Job, open_store

def serve(url, folder, seed):
    rng = random.Random(seed)
    old, new = (Embeddings.load(f"{folder}/{name}.parquet") for name in ("old", "new"))
    row_of = {identifier: row for row, identifier in enumerate(new.ids.tolist())}
    paid = os.open(f"{folder}/paid", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def embed(ids):
        os.write(paid, "".join(f"{each}\\n" for each in ids).encode())
        return Embeddings(new.vectors[[row_of[each] for each in ids]], list(ids), new.space)

    def search(queries, k):
        scores = queries @ new.vectors.T
        best = np.argsort(-scores, axis=1)[:, :k]
        return np.take_along_axis(scores, best, axis=1), new.ids[best]

    store = open_store(url)
    lazy = LazyBackfill(search, embed, store, Job("a" * 64, old.space, new.space), depth=12, batch_size=BATCH)
    for number in range(10**9):
        lazy.search(new.vectors[[rng.randrange(len(new.ids))]], k=10)
        if number == 0:
            lazy.flush()
            threading.Timer(rng.uniform(0.0, 0.25), lambda: os.kill(os.getpid(), signal.SIGKILL)).start()

url, folder, rounds, BATCH = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
for seed in range(rounds):
    child = os.fork()
    if child == 0:
        serve(url, folder, seed)
        os._exit(1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def unit(seed: int) -> np.ndarray:
    return normalize_rows(np.random.default_rng(seed).standard_normal((ITEMS, DIM)).astype(np.float32))


@pytest.mark.parametrize("phase", ["prepared", "cut over"])
@pytest.mark.parametrize("rounds", [3, pytest.param(60, marks=pytest.mark.soak)], ids=["short", "soak"])
def test_a_backfill_that_is_killed_at_random_moments(rounds: int, phase: str, tmp_path: Path) -> None:
    ids = [f"item-{row}" for row in range(ITEMS)]
    old, converted, new = (Embeddings(unit(seed), ids, OLD if seed == 1 else NEW) for seed in (1, 2, 3))
    old.save(tmp_path / "old.parquet")
    new.save(tmp_path / "new.parquet")
    old.save(tmp_path / "gallery.parquet")
    url = str(tmp_path / "gallery.parquet")
    with closing(open_store(url)) as store:
        store.prepare(JOB)
        store.write(JOB, ids, converted.vectors, row_digests(old.vectors, None))
        if phase == "cut over":
            store.cutover(JOB, lambda _rows: ([], np.empty((0, DIM), np.float32), np.empty(0, np.int64)))
    command = [sys.executable, "-c", KILLED, url, str(tmp_path), str(rounds), str(BATCH)]
    child = subprocess.run(command, check=True, capture_output=True, text=True)
    assert child.stdout.split() == [str(-signal.SIGKILL)] * rounds
    paid = Counter((tmp_path / "paid").read_text().split())
    with closing(open_store(url)) as store:
        rows = store.read_target(JOB, ids)
    assert list(rows.ids) == ids
    for row, identifier in enumerate(ids):
        native = bool(rows.native[row])
        assert np.array_equal(rows.vectors[row], (new if native else converted).vectors[row]), identifier
        assert not native or paid[identifier], "a native vector was embedded"
    # What a killed process had paid for and not written yet is paid for again: one batch at most.
    assert sum(paid.values()) <= rows.native.sum() + rounds * BATCH
    assert rows.native.any()
