"""Ranking a gallery exactly, beside a bare blocked matrix product and partition.

`rank_relevant` counts the full rank of every relevant item and `search` brings the ten best rows, both as exact scores
order them; the comparison multiplies the same blocks and partitions each for its ten best, without merging the blocks,
without ties and without settling what float32 cannot tell apart.

    python benchmarks/retrieval.py --rows 1000000 --queries 10000 --repeats 1 --out retrieval.json
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from machine import alternate, describe, line_at_most, median_ratio, write_results
from numpy.typing import NDArray

from embcompat.embeddings import normalize_rows
from embcompat.evaluation.nearest import GALLERY_BLOCK, QUERY_BLOCK, search
from embcompat.evaluation.retrieval.qrels import Qrels, match_qrels
from embcompat.evaluation.retrieval.ranks import ScoreTerm, rank_relevant

DIM, K = 384, 10


def make_vectors(rows: int, seed: int) -> NDArray[np.float32]:
    """Make unit vectors, a chunk at a time."""
    rng = np.random.default_rng(seed)
    vectors = np.empty((rows, DIM), dtype=np.float32)
    for start in range(0, rows, GALLERY_BLOCK):
        part = vectors[start : start + GALLERY_BLOCK]
        part[:] = normalize_rows(rng.standard_normal(part.shape, dtype=np.float32))
    return vectors


def make_queries(gallery: NDArray[np.float32], count: int, relevant: int) -> tuple[NDArray[np.float32], Qrels]:
    """Draw the relevant items of each query by lot; the query is their mean direction with twice as much noise."""
    rng = np.random.default_rng(2)
    rows = rng.integers(0, len(gallery), (count, relevant))
    noise = rng.standard_normal((count, DIM), dtype=np.float32) / np.float32(DIM**0.5)
    queries = normalize_rows(normalize_rows(gallery[rows].sum(axis=1)) + 2 * noise)
    return queries, Qrels({str(query): {str(row): 1.0 for row in rows[query]} for query in range(count)})


def bare(queries: NDArray[np.float32], gallery: NDArray[np.float32]) -> None:
    buffer = np.empty((QUERY_BLOCK, GALLERY_BLOCK), dtype=np.float32)
    for first in range(0, len(queries), QUERY_BLOCK):
        query_block = queries[first : first + QUERY_BLOCK]
        for start in range(0, len(gallery), GALLERY_BLOCK):
            block = gallery[start : start + GALLERY_BLOCK]
            scores = np.matmul(query_block, block.T, out=buffer[: len(query_block), : len(block)])
            if len(block) > K:
                np.argpartition(scores, len(block) - K, axis=1)


def measure(rows: int, queries: int, repeats: int) -> list[dict[str, Any]]:
    gallery = make_vectors(rows, 0)
    names, query_names = [[str(number) for number in range(count)] for count in (rows, queries)]
    query_sets = {relevant: make_queries(gallery, queries, relevant) for relevant in (1, 10)}
    judged = {
        relevant: match_qrels(
            qrels, np.array(query_names, dtype=object), np.array(names, dtype=object), exclude_self=False
        )
        for relevant, (_, qrels) in query_sets.items()
    }

    def ranks(relevant: int) -> None:
        rank_relevant([ScoreTerm(query_sets[relevant][0], gallery, "cosine")], judged[relevant])

    seconds = alternate(
        {
            "bare": lambda: bare(query_sets[1][0], gallery),
            "ranks of 1 relevant item": lambda: ranks(1),
            "ranks of 10 relevant items": lambda: ranks(10),
            "ten best": lambda: search(query_sets[1][0], gallery, k=K, similarity="cosine"),
        },
        repeats=repeats,
    )
    return [
        line_at_most(
            f"retrieval, {rows:,} × {DIM}, {queries:,} queries: {name}",
            "bare blocked product and partition",
            median_ratio(seconds, name, "bare"),
            1.5,
            seconds,
            runs=(name, "bare"),
        )
        for name in seconds
        if name != "bare"
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--queries", type=int, default=2_048)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="a size that only shows that it runs")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    sizes = (3_000, 64, 1) if options.smoke else (options.rows, options.queries, options.repeats)
    lines = measure(*sizes)
    write_results({"machine": describe(), "smoke": options.smoke, "lines": lines}, options.out)


if __name__ == "__main__":
    main()
