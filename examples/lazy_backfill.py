"""A converted gallery that re-embeds itself where people look.

python examples/lazy_backfill.py
"""

import tempfile
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import embcompat as ec
from embcompat.backfill import look_up
from embcompat.evaluation import search
from embcompat.migration import job_of, run_migration
from embcompat.stores import open_store
from embcompat.testing import make_pairs


def main() -> None:
    pairs = make_pairs(5_000, source_dim=24, target_dim=48, noise=0.6, normalized=True).pairs
    old, new = pairs.source, pairs.target
    split = ec.split_pairs(pairs)
    aligner = ec.fit_affine(split.train, split.validation)

    with tempfile.TemporaryDirectory() as folder:
        artifact = ec.save_artifact(aligner, f"{folder}/map", source=old.space, target=new.space, split=split)
        column = pa.FixedSizeListArray.from_arrays(pa.array(old.vectors.reshape(-1)), old.space.dim)
        lancedb.connect(folder).create_table("docs", pa.table({"id": old.ids.tolist(), "vector": column}))
        store = open_store(f"lancedb://{folder}#docs.vector")
        run_migration(ec.OnnxAligner(artifact), store)
        converted = aligner.transform(old.vectors)

        def candidates(queries: NDArray[np.float32], k: int) -> tuple[NDArray[Any], NDArray[Any]]:
            """Stand in for the vector index over the converted rows."""
            scores, rows = search(queries, converted, k=k, similarity="cosine")
            return scores, old.ids[rows]

        noise = np.random.default_rng(0).normal(0, 0.15, (100, new.space.dim)).astype(np.float32)
        queries, answers = new.vectors[:100] + noise, new.ids[:100]
        first = candidates(queries, 1)[1][:, 0]
        print(f"converted rows alone: {np.mean(first == answers):.0%} of the queries find their item first")

        # Yours: embed_items(new_model, texts_by_id). `look_up` takes vectors that are known already.
        with ec.LazyBackfill(candidates, look_up(new), store, job_of(artifact), depth=20) as lazy:
            for _ in range(2):  # the second time nothing is left to embed
                first = lazy.search(queries, k=5)[1][:, 0]
                print(
                    f"{np.mean(first == answers):.0%}, {lazy.counters.rows_embedded:,} of {len(old):,} items embedded"
                )


if __name__ == "__main__":
    main()
