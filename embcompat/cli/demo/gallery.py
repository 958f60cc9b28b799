"""The demo's gallery in use: an embedded LanceDB table, migrated, cut over and rolled back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import lancedb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embcompat.artifact import Artifact
from embcompat.cli.progress import track
from embcompat.embeddings import Embeddings
from embcompat.migration import RunOptions, cut_over, roll_back, run_migration, verify_migration
from embcompat.runtime import OnnxAligner
from embcompat.stores import open_store

TABLE = "docs"


@dataclass(frozen=True)
class Migration:
    """What happened to the table.

    Attributes:
        url: Address of the table.
        rows: Rows that were converted beside the old vectors.
        missing: Rows without a converted vector when it was verified.
        hits_before: Hits of a search while the old vectors are in service.
        hits_after: Its hits after the cutover.
        hits_back: Hits of the old query after the rollback.
    """

    url: str
    rows: int
    missing: int
    hits_before: tuple[str, ...]
    hits_after: tuple[str, ...]
    hits_back: tuple[str, ...]


def migrate(
    artifact: Artifact,
    folder: Path,
    gallery: Embeddings,
    old_query: NDArray[np.float32],
    new_query: NDArray[np.float32],
    *,
    hits: int,
) -> Migration:
    """Put a gallery with texts into a LanceDB table, convert it in use, verify, cut over and roll back.

    Args:
        artifact: The aligner.
        folder: The database.
        gallery: The rows, under the old model, with their texts.
        old_query: A query under the old model (source_dim,).
        new_query: The same under the new model (target_dim,).
        hits: Number of hits of a search.
    """
    database = lancedb.connect(folder)
    column = pa.FixedSizeListArray.from_arrays(pa.array(gallery.vectors.reshape(-1)), gallery.space.dim)
    rows = {"id": gallery.ids.tolist(), "vector": column}
    if gallery.texts is not None:
        rows["text"] = gallery.texts.tolist()
    database.drop_all_tables()
    database.create_table(TABLE, pa.table(rows))

    def find(query: NDArray[np.float32]) -> tuple[str, ...]:
        search = database.open_table(TABLE).search(query, vector_column_name="vector")
        return tuple(str(row["id"]) for row in search.limit(hits).to_list())

    aligner, store = OnnxAligner(artifact), open_store(f"lancedb://{quote(str(folder))}#{TABLE}.vector")
    options = RunOptions(text_column="text" if aligner.reads_texts else None)
    first = find(old_query)
    report = run_migration(
        aligner, store, options=options, progress=lambda total: track("Migrating", total, unit="rows")
    )
    missing = verify_migration(aligner, store, options=options).coverage.missing
    cut_over(aligner, store, options=options)
    second = find(new_query)
    roll_back(aligner, store)
    return Migration(store.url, report.rows, missing, first, second, find(old_query))
