"""Search an old gallery with a new model, without touching a stored vector.

The aligner maps the other way round: new queries to the old space. Any search function serves.

python examples/query_bridge.py
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

import embcompat as ec
from embcompat.evaluation import search
from embcompat.serving import QueryBridge
from embcompat.testing import make_pairs


def main() -> None:
    pairs = make_pairs(3_000, source_dim=64, target_dim=96, noise=0.3, normalized=True).pairs
    old, new = pairs.source, pairs.target
    queries = np.arange(100)
    pair_rows = np.arange(1_000, 3_000)  # the pairs; the queries and the rest of the gallery are not among them

    split = ec.split_pairs(ec.pair_embeddings(new.select(pair_rows), old.select(pair_rows)))
    bridge_aligner = ec.fit_affine(split.train, split.validation)

    def search_old(vectors: NDArray[np.float32], k: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Stand in for the vector database that holds the old gallery."""
        scores, rows = search(vectors, old.vectors[:1_000], k=k, similarity="cosine")
        return scores, old.ids[:1_000][rows]

    bridge = QueryBridge(bridge_aligner, search_old)
    _, bridge_ids = bridge.search(new.vectors[queries], k=10)
    _, old_ids = search_old(old.vectors[queries], k=10)

    hit_rate = np.mean([query in row for query, row in zip(new.ids[queries], bridge_ids, strict=True)])
    shared = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(bridge_ids.tolist(), old_ids.tolist(), strict=True)])
    print(f"the item itself is among the ten best for {hit_rate:.0%} of the queries")
    print(f"{shared:.0%} of the ten best are those that the old model's own query finds")


if __name__ == "__main__":
    main()
