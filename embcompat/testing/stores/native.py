"""Native rows in a migration: vectors that the new model itself made, written over converted ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embcompat.embeddings import normalize_rows
from embcompat.errors import StoreError
from embcompat.migration import cut_over, drop_old, job_of, roll_back, run_migration, sweep, verify_migration
from embcompat.stores import GalleryStore, vector_digests
from embcompat.testing.stores.check import TARGET_DIM, Gallery, StoreBench, converted, require, require_gallery

ROWS = 50
Ids = list[str]


def check_native_rows(bench: StoreBench) -> None:
    """Native vectors stay as long as their source vector does: over runs, the cutover, a rollback and the drop."""
    old = bench.gallery(ROWS)
    url = bench.harness.create(old)
    notes = bench.harness.notes(url)
    keys, ids = _write_some(bench, url, old)
    _change_sources(bench, url, old, keys)
    vectors = _vectors(bench)
    new = converted(bench.shrink, old) | {keys[row]: vectors[row] for row in (0, 3, 4)}
    _run_and_cut_over(bench, url, ids)
    require_gallery(bench.harness.get(url), new, bench.harness.tolerance, "native rows must be put into service")
    require(notes.items() <= bench.harness.notes(url).items(), "native rows must change nothing beside the vectors")
    late = _vectors(bench, seed=9)[5:9]
    new |= dict(zip(keys[5:9], late, strict=True))
    _write_late(bench, url, ids[5:9], late, natives=7)
    require_gallery(bench.harness.get(url), new, bench.harness.tolerance, "native vectors in service")
    with bench.store(url) as store:
        require(roll_back(bench.shrink, store) == 0, "every row has its old vector after a rollback")
    require_gallery(bench.harness.get(url), old, bench.harness.tolerance, "old vectors after a rollback")
    with bench.store(url) as store:
        cut_over(bench.shrink, store)
        drop_old(bench.shrink, store)
    require_gallery(bench.harness.get(url), new, bench.harness.tolerance, "native rows after a second cutover")
    last = _vectors(bench, seed=11)[9:11]
    new |= dict(zip(keys[9:11], last, strict=True))
    _write_late(bench, url, ids[9:11], last, natives=9)
    require_gallery(bench.harness.get(url), new, bench.harness.tolerance, "native vectors when the old side is gone")


def _write_some(bench: StoreBench, url: str, old: Gallery) -> tuple[list[Any], Ids]:
    """Migrate, and make five rows native; return the keys and ids of twelve rows, the five first."""
    job = job_of(bench.shrink.artifact)
    with bench.store(url) as store:
        nothing = store.read_target(job, ["1"])
        require(len(nothing) == 0 and nothing.vectors.shape == (0, TARGET_DIM), "there is no target side yet")
        _refused_before_the_run(bench, store)
        run_migration(bench.shrink, store)
        ids = list(store.sample(job, 12, seed=0))
        pairs = store.read(job, ids)
        ids = list(pairs.ids)
        keys = [_key_of(vector, old) for vector in pairs.source]
        vectors = _vectors(bench)
        require(store.write_native(job, ids[:5], vectors[:5]) == 5, "5 rows must be written")
        require(store.coverage(job).native == 5, f"5 rows are native. Got {store.coverage(job).native}")
        require(store.coverage(job).converted == len(old), "native rows stand on both sides, too")
        _holds(bench, store, ids[:5], vectors[:5], native=True)
        _holds(bench, store, ids[5:], bench.shrink.transform(pairs.source[5:]), native=False)
        digests = vector_digests(pairs.source)
        store.write(job, ids[:1], bench.shrink.transform(pairs.source[:1]), digests[:1])
        _holds(bench, store, ids[:1], vectors[:1], native=True)
        store.write(job, ids[1:2], bench.shrink.transform(pairs.source[1:2]), digests[1:2] + 2)
        _holds(bench, store, ids[1:2], bench.shrink.transform(pairs.source[1:2]), native=False)
        require(verify_migration(bench.shrink, store).problems == (), "native rows must not fail a verification")
        require(not set(store.sample(job, ROWS, seed=1)) & set(ids[2:5]), "native rows are no sample of conversions")
    return keys, ids


def _change_sources(bench: StoreBench, url: str, old: Gallery, keys: list[Any]) -> None:
    """Replace one source vector of a native row, put another one again as it was, and insert a row."""
    fresh = next(key for key in bench.gallery(ROWS + 1) if key not in old)
    old[keys[2]] = bench.gallery(ROWS, seed=8)[keys[2]]
    old[fresh] = bench.gallery(ROWS, seed=8)[keys[3]]
    bench.harness.put(url, {keys[2]: old[keys[2]], keys[3]: old[keys[3]], fresh: old[fresh]})
    with bench.store(url) as store:
        job = job_of(bench.shrink.artifact)
        missing = [text for rows in store.scan(job, batch_size=ROWS, missing_only=True) for text in rows.ids]
        require(len(missing) in (1, 2), f"1 row was inserted, and 1 may have lost its target. Got {len(missing)}")
        written = store.write_native(job, missing, _vectors(bench)[: len(missing)])
        require(written == 0, "a row without a target row is left out")


def _run_and_cut_over(bench: StoreBench, url: str, ids: Ids) -> None:
    job = job_of(bench.shrink.artifact)
    with bench.store(url) as store:
        run_migration(bench.shrink, store)
        rows = store.read_target(job, ids[:5])
        native = {text for text, flag in zip(rows.ids, rows.native.tolist(), strict=True) if flag}
        require(native == {ids[0], ids[3], ids[4]}, f"rows 0, 3 and 4 must still be native. Got {native}")
        cut_over(bench.shrink, store)


def _write_late(bench: StoreBench, url: str, ids: Ids, vectors: NDArray[np.float32], *, natives: int) -> None:
    """Write native vectors of rows in service."""
    job = job_of(bench.shrink.artifact)
    with bench.store(url) as store:
        written = store.write_native(job, ids, vectors)
        require(written == len(ids), f"{len(ids)} rows are in service. Got {written}")
        _holds(bench, store, ids, vectors, native=True)
        coverage = store.coverage(job)
        require(coverage.native == natives, f"{natives} rows are native. Got {coverage.native}")
        require(coverage.missing == 0, f"every row is of the new space. {coverage.missing} are not")
        require(not list(sweep(bench.shrink, store)), "native rows are of the new space")


def _holds(bench: StoreBench, store: GalleryStore, ids: Ids, vectors: NDArray[np.float32], *, native: bool) -> None:
    target = store.read_target(job_of(bench.shrink.artifact), ids)
    expected: Gallery = dict(zip(ids, vectors, strict=True))
    gallery: Gallery = dict(zip(target.ids, target.vectors, strict=True))
    require_gallery(gallery, expected, bench.harness.tolerance, "the target side")
    require(bool((target.native == native).all()), f"native must be {native}. Got {target.native}")


def _refused_before_the_run(bench: StoreBench, store: GalleryStore) -> None:
    try:
        store.write_native(job_of(bench.shrink.artifact), ["1"], _vectors(bench)[:1])
    except StoreError:
        return
    raise AssertionError("native vectors must be refused before there is a target side")


def _vectors(bench: StoreBench, *, seed: int = 7) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((ROWS, TARGET_DIM)).astype(np.float32)
    return vectors if bench.harness.keeps_norms else normalize_rows(vectors)


def _key_of(vector: NDArray[np.float32], gallery: Gallery) -> Any:
    def distance(key: Any) -> float:
        other = gallery[key]
        return float("inf") if other is None else float(np.linalg.norm(other - vector))

    return min(gallery, key=distance)
