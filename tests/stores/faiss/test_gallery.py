from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from embcompat.errors import MigrationError, StoreError
from embcompat.migration import RunOptions, cut_over, job_of, run_migration
from embcompat.stores.faiss.gallery import FaissLayout
from embcompat.testing.stores.check import Gallery, StoreBench, StoreCheck, StoreHarness, store_bench
from embcompat.testing.stores.checks import STORE_CHECKS
from embcompat.testing.stores.faults import check_random_kills


class FaissHarness(StoreHarness):
    """An application that keeps a gallery in a FAISS index file."""

    keeps_norms = False

    def __init__(self, folder: Path, factory: str, metric: int = faiss.METRIC_INNER_PRODUCT) -> None:
        super().__init__(folder)
        self.factory, self.kind = factory, metric

    def key_sets(self, count: int) -> dict[str, list[Any]]:
        return {"integer": [number * 7_000_000_019 for number in range(count)]}

    def create(self, gallery: Gallery) -> str:
        path = self.fresh_path("index.faiss")
        self.save(path, gallery)
        return f"faiss://{str(path).replace(' ', '%20')}"

    def path(self, url: str) -> Path:
        return Path(url.removeprefix("faiss://").replace("%20", " "))

    def save(self, path: Path, gallery: Gallery) -> None:
        vectors = np.array(list(gallery.values()), np.float32)
        index = faiss.index_factory(vectors.shape[1], self.factory, self.kind)
        index.train(vectors)
        index.add_with_ids(vectors, np.array(list(gallery), np.int64))
        faiss.write_index(index, str(path) + ".new")
        Path(str(path) + ".new").replace(path)

    def put(self, url: str, gallery: Gallery) -> None:
        self.save(self.path(url), self.get(url) | gallery)

    def delete(self, url: str, keys: Sequence[Any]) -> None:
        self.save(self.path(url), {key: vector for key, vector in self.get(url).items() if key not in keys})

    def get(self, url: str) -> Gallery:
        owner = faiss.read_index(str(self.path(url)))
        index = faiss.downcast_index(owner)
        if isinstance(index, faiss.IndexIVF):
            index.make_direct_map(False)
            ids = np.concatenate(
                [
                    faiss.rev_swig_ptr(index.invlists.get_ids(number), index.invlists.list_size(number)).copy()
                    for number in range(index.nlist)
                    if index.invlists.list_size(number)
                ]
            )
            index.set_direct_map_type(faiss.DirectMap.Hashtable)
            return {int(key): index.reconstruct(int(key)) for key in ids}
        ids = faiss.vector_to_array(index.id_map)
        return dict(zip(ids.tolist(), faiss.downcast_index(index.index).reconstruct_n(0, len(ids)), strict=True))

    def metric(self, url: str) -> str:
        return str(faiss.read_index(str(self.path(url))).metric_type)

    def nearest(self, url: str, query: np.ndarray) -> Any:
        return int(faiss.read_index(str(self.path(url))).search(query[np.newaxis], 1)[1][0, 0])

    def notes(self, url: str) -> dict[Any, str]:
        return {key: f"note {key}" for key in self.get(url)}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> StoreBench:
    folder = tmp_path_factory.mktemp("faiss")
    return store_bench(FaissHarness(folder, "IDMap2,Flat"), folder)


@pytest.mark.parametrize("check", STORE_CHECKS, ids=lambda check: check.__name__)
def test_the_suite_of_every_store(check: StoreCheck, bench: StoreBench) -> None:
    check(bench)


@pytest.mark.parametrize("factory", ["IVF8,Flat", "IDMap,HNSW16"])
def test_other_kinds_of_index(factory: str, tmp_path: Path) -> None:
    bench = store_bench(FaissHarness(tmp_path, factory), tmp_path)
    for check in STORE_CHECKS:
        if check.__name__ in ("check_whole_migration", "check_changes_after_the_run", "check_sweep"):
            check(bench)


@pytest.mark.soak
def test_random_kills(bench: StoreBench) -> None:
    check_random_kills(bench)


def test_a_metric_that_was_chosen_stays_where_later_commands_do_not_name_it(bench: StoreBench) -> None:
    old = bench.gallery(50)
    url = bench.harness.create(old)
    with bench.store(url) as store:
        run_migration(bench.shrink, store, options=RunOptions(metric="euclidean"))
        run_migration(bench.shrink, store)
        with pytest.raises(MigrationError, match="begun with the metric euclidean, which --metric dot cannot change"):
            run_migration(bench.shrink, store, options=RunOptions(metric="dot"))
        cut_over(bench.shrink, store)
    assert bench.harness.metric(url) == str(faiss.METRIC_L2)


@pytest.mark.parametrize("metric", [None, "euclidean"])
def test_the_new_index_is_built_once(metric: Any, bench: StoreBench) -> None:
    url = bench.harness.create(bench.gallery(50))
    path, options = bench.harness.path(url), RunOptions(metric=metric)  # type: ignore[attr-defined]
    with bench.store(url) as store:
        run_migration(bench.shrink, store, options=options)
        built = path.with_name(f"{path.name}.{bench.shrink.artifact.id[:12]}").stat().st_ino
        run_migration(bench.shrink, store, options=options)
        cut_over(bench.shrink, store, options=options)
        assert path.stat().st_ino == built


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
def test_a_full_disk_is_an_error_in_words(bench: StoreBench) -> None:
    path = bench.harness.path(bench.harness.create(bench.gallery(50)))  # type: ignore[attr-defined]
    layout = FaissLayout("the gallery")
    vectors = np.zeros((50, bench.shrink.artifact.target.dim), np.float32)
    with pytest.raises(StoreError, match="the gallery: the new index cannot be written.*No space left on device"):
        layout.write(Path("/dev/full"), layout.read(path), np.arange(50), vectors, job_of(bench.shrink.artifact))
