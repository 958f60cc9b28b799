"""A large live gallery with an index from plan to drop-old: the time of each step, and what a lazy backfill adds.

Between cutover and drop-old, threads search the converted gallery for its ``--depth`` nearest rows, first with the
store's bare client, then through `LazyBackfill` after the same queries had their candidates re-embedded. The lazy
search reads the candidates' vectors a second time, to rank them by native scores, unless the first search brings them
along (measured for LanceDB). Queries run as fast as they can on every thread, so a time of one query includes its wait
for a processor.

    python benchmarks/migration_steps.py --stores lancedb --rows 1000000 --out benchmarks/results/migration_steps.json
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np
import pyarrow as pa
from machine import describe, line_at_most, write_results
from store_galleries import CHUNK_ROWS, DIM, LanceBare, PostgresBare, chunks, make_artifact

from embcompat.artifact import Artifact
from embcompat.backfill import Embed, FirstSearch, LazyBackfill
from embcompat.embeddings import Embeddings, normalize_rows
from embcompat.migration import cut_over, drop_old, job_of, plan_migration, run_migration, verify_migration
from embcompat.runtime import OnnxAligner
from embcompat.stores import GalleryStore, Job, TargetRows, open_store
from embcompat.stores.lancedb import target_rows

QUERIES = 256
ROUNDS = 3
"""Times that bare and lazy search take turns."""

WARM_PASSES = 5
"""Most times that all queries run beforehand: rows that were written back are found more surely than before."""

WARM_BATCH = 4_096
"""Rows that are written back together beforehand: LanceDB looks through all ids at each commit."""

REFRESH = timedelta(seconds=1)
"""How old the rows may be that a search of LanceDB finds."""

Search = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]


class Gallery(ABC):
    """A gallery with an index, and its bare search."""

    @abstractmethod
    def build_index(self) -> None:
        """Build the index of the old vectors."""

    @abstractmethod
    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return scores and ids (q, k), the best first."""

    def first_searches(self, job: Job) -> dict[str, FirstSearch]:  # noqa: ARG002
        """Return the searches that a lazy backfill may begin with, by the name of what they make."""
        return {"lazy search": self.search}


@final
class Lance(LanceBare, Gallery):
    """LanceDB with an index of the vectors, and one of the ids."""

    def build_index(self) -> None:
        from lancedb.index import BTree, IvfFlat

        table = self.table()
        table.create_index("vector", config=IvfFlat(distance_type="cosine", num_partitions=256))
        table.create_index("id", config=BTree())

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        return self._scores_and_ids(self._hits(queries, k, ["id", "_distance"]))

    def first_searches(self, job: Job) -> dict[str, FirstSearch]:
        columns = ["id", "_distance", "vector", "vector__space", "vector__artifact"]

        def search(queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, TargetRows]:
            hits = self._hits(queries, k, columns)
            return *self._scores_and_ids(hits), target_rows(pa.concat_tables(hits), job)

        return {**super().first_searches(job), "lazy search, vectors brought along": search}

    def _hits(self, queries: np.ndarray, k: int, columns: list[str]) -> list[pa.Table]:
        searches = (self._table().search(query).distance_type("cosine").nprobes(8).limit(k) for query in queries)
        return [search.select(columns).to_arrow() for search in searches]

    def _scores_and_ids(self, hits: list[pa.Table]) -> tuple[np.ndarray, np.ndarray]:
        ids = np.array([rows.column("id").to_pylist() for rows in hits], dtype=object)
        return np.stack([1 - rows.column("_distance").to_numpy() for rows in hits]), ids

    def _table(self) -> Any:
        if not hasattr(self, "_opened"):
            import lancedb

            database = lancedb.connect(str(self.folder / "db"), read_consistency_interval=REFRESH)
            self._opened = database.open_table("docs")
        return self._opened


@final
class Postgres(PostgresBare, Gallery):
    """PostgreSQL with an ivfflat index; each thread has a connection."""

    def build_index(self) -> None:
        with self.connection() as connection:
            connection.execute("CREATE INDEX ON docs USING ivfflat (vector vector_cosine_ops) WITH (lists = 500)")

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        statement = (
            "SELECT id, vector <=> %(query)s::vector FROM docs ORDER BY vector <=> %(query)s::vector LIMIT %(k)s"
        )
        connection = self._connection()
        hits = [connection.execute(statement, {"query": str(query.tolist()), "k": k}).fetchall() for query in queries]
        scores = np.array([[1 - distance for _, distance in rows] for rows in hits])
        return scores, np.array([[str(row) for row, _ in rows] for rows in hits], dtype=object)

    def _connection(self) -> Any:
        if not hasattr(self, "_local"):
            self._local = threading.local()
        if not hasattr(self._local, "connection"):
            import psycopg

            self._local.connection = psycopg.connect(self.server_url, autocommit=True)
            self._local.connection.execute("SET ivfflat.probes = 8")
        return self._local.connection


GALLERIES: dict[str, type[Lance | Postgres]] = {"lancedb": Lance, "postgresql": Postgres}


def queries_of(artifact: Artifact, count: int) -> np.ndarray:
    """Return converted rows with some noise."""
    rows = next(chunks(CHUNK_ROWS))[1][:count]
    noise = np.random.default_rng(5).standard_normal((count, artifact.target.dim), dtype=np.float32)
    return np.asarray(normalize_rows(OnnxAligner(artifact).transform(rows) + 0.02 * noise), dtype=np.float32)


def look_up(artifact: Artifact, rows: int) -> Embed:
    """Return a model that finds its vectors in memory: the converted ones, so that candidates stay the same."""
    aligner = OnnxAligner(artifact)
    old = np.concatenate([vectors for _, vectors in chunks(rows)])

    def embed(ids: Sequence[str]) -> Embeddings:
        numbers = [int(identifier.removeprefix("item-")) for identifier in ids]
        return Embeddings(aligner.transform(old[numbers]), list(ids), artifact.target)

    return embed


def query_seconds(search: Search, queries: np.ndarray, depth: int, threads: int) -> list[float]:
    """Run each query once, on several threads, and return the seconds of each."""

    def one(row: int) -> float:
        start = time.perf_counter()
        search(queries[row : row + 1], depth)
        return time.perf_counter() - start

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, range(len(queries))))


def lazy_lines(
    gallery: Lance | Postgres, store: GalleryStore, artifact: Artifact, rows: int, options: argparse.Namespace
) -> list[dict[str, Any]]:
    queries, depth, job = queries_of(artifact, options.queries), options.depth, job_of(artifact)
    embed, sizes = look_up(artifact, rows), {"depth": depth, "batch_size": WARM_BATCH}
    lines = []
    for name, first_search in gallery.first_searches(job).items():
        with LazyBackfill(first_search, embed, store, job, **sizes) as lazy:
            warm_up(lazy, queries, depth)
            before = lazy.counters
            runs = {"bare": gallery.search, "lazy": lambda part, k, lazy=lazy: lazy.search(part, k=k)}
            seconds: dict[str, list[list[float]]] = {run: [] for run in runs}
            for _, (run, search) in itertools.product(range(ROUNDS), runs.items()):
                seconds[run].append(query_seconds(search, queries, depth, options.threads))
            after = lazy.counters
        native = (after.hits - before.hits) / (after.candidates - before.candidates)
        for figure, share in (("median", 0.5), ("p99", 0.99)):
            each = {run: [float(np.quantile(times, share)) for times in part] for run, part in seconds.items()}
            ratio = statistics.median(each["lazy"]) / statistics.median(each["bare"])
            what = f"{name}, {gallery.name}, {rows:,} rows, depth {depth}, {options.threads} threads: {figure}"
            lines.append(
                line_at_most(what, "the bare search", ratio, 1.3, each, native_candidates=native, runs=("lazy", "bare"))
            )
    return lines


def warm_up(lazy: LazyBackfill, queries: np.ndarray, depth: int) -> None:
    """Search until all candidates are native, and every search finds them so."""
    embedded = -1
    for _ in range(WARM_PASSES):
        if lazy.counters.rows_embedded == embedded:
            break
        embedded = lazy.counters.rows_embedded
        lazy.search(queries, k=depth)
        lazy.flush()
    time.sleep(REFRESH.total_seconds())


def steps(gallery: Lance | Postgres, rows: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    artifact = make_artifact(gallery.folder)
    aligner = OnnxAligner(artifact)
    seconds: dict[str, float] = {}

    def step(name: str, run: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = run()
        seconds[name] = time.perf_counter() - start
        print(f"{gallery.name}: {name} {seconds[name]:.1f} s", flush=True)
        return result

    step("making the gallery", partial(gallery.create, rows))
    step("its index", gallery.build_index)
    with closing(open_store(gallery.url)) as store:
        step("plan", partial(plan_migration, aligner, store))
        report = step("run", partial(run_migration, aligner, store))
        step("verify", partial(verify_migration, aligner, store))
        step("cutover with its index", partial(cut_over, aligner, store))
        lines = lazy_lines(gallery, store, artifact, rows, options)
        step("drop old", partial(drop_old, aligner, store))
    what = f"migration of {rows:,} rows with an index, {gallery.name}, {DIM} → {DIM}"
    return [{"what": what, "step_seconds": seconds, "rows": report.rows}, *lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stores", nargs="+", choices=list(GALLERIES), default=list(GALLERIES))
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--depth", type=int, default=50)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--queries", type=int, default=QUERIES)
    parser.add_argument("--smoke", action="store_true", help="a size that only shows that it runs")
    parser.add_argument("--out", type=Path, help="JSON; lines of other stores in it are kept")
    options = parser.parse_args()
    if options.smoke:
        options.rows, options.queries, options.threads = 20_000, 16, 4
    lines = []
    with tempfile.TemporaryDirectory() as name:
        for store in options.stores:
            with GALLERIES[store].server(Path(name) / store) as gallery:
                lines += steps(gallery, options.rows, options)
    recorded = json.loads(options.out.read_text())["lines"] if options.out and options.out.exists() else []
    load = os.getloadavg()[0]
    named = {line["what"]: line for line in [*recorded, *({**line, "load_average": load} for line in lines)]}
    write_results({"machine": describe("lancedb", "psycopg"), "lines": list(named.values())}, options.out)


if __name__ == "__main__":
    main()
