"""What a search of a converted Lance table brings along, so that a lazy backfill need not read it again."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute

from embcompat.errors import InputError
from embcompat.stores.keys import KeyCodec
from embcompat.stores.lancedb.columns import key_kind, vector_type
from embcompat.stores.lancedb.rows import LanceKeys, side_of
from embcompat.stores.values import Job, TargetRows


def target_rows(hits: pa.Table, job: Job, *, column: str = "vector", keys: Sequence[str] = ("id",)) -> TargetRows:
    """Return the vectors in service of the rows that a search returned, as `LazyBackfill` takes them.

    Args:
        hits: Rows with the key columns, ``column``, ``column__space`` and ``column__artifact``, as ``to_arrow()``
            returns them.
        job: A conversion that was cut over.
        column: The vector column.
        keys: The key columns, as in the address of the gallery.

    Returns:
        The rows that are of the job's target space; others are left out.

    Raises:
        InputError: If a column is missing, is no key, or does not hold vectors of the target's dimension.
    """
    space = f"{column}__space"
    needed = [*keys, column, space, f"{column}__artifact"]
    if absent := [name for name in needed if name not in hits.column_names]:
        raise InputError(
            f"hits must have the columns {', '.join(needed)}. {', '.join(absent)} is missing: add it to select(…)."
        )
    kind = vector_type(hits.schema, column, keys, where="hits")
    if kind.list_size != job.target.dim:
        raise InputError(
            f"hits: column {column!r} must hold vectors of length {job.target.dim}, as space {job.target.id!r} has. "
            f"Got {kind.list_size}: search the table that was cut over."
        )
    kinds = tuple(key_kind(hits.schema.field(name), where="hits") for name in keys)
    of_space = pa.compute.and_(hits.column(column).is_valid(), pa.compute.equal(hits.column(space), job.target.id))
    return side_of(hits.filter(of_space), LanceKeys(tuple(keys), KeyCodec(kinds)), column, job.target.dim)
