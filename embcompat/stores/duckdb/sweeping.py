"""Rows of a DuckDB table that an application wrote after a cutover."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from embcompat.stores.digests import vector_digests
from embcompat.stores.duckdb.connection import text_literal
from embcompat.stores.duckdb.rows import batch_of, batch_rows, ids_of, key_texts, vectors_of
from embcompat.stores.duckdb.sides import Sides
from embcompat.stores.values import Job, TargetRows


def strange_rows(sides: Sides, job: Job, *, size: int) -> Iterator[list[str]]:
    """Find rows in service that are not of the new space, or whose vector was replaced since."""
    statement = (
        f"SELECT {key_texts(sides, 't')} FROM {sides.served()} t "
        f"WHERE {sides.column('space', 't')} IS DISTINCT FROM {text_literal(job.target.id)}"
    )
    unknown: set[str] = set()
    for batch in sides.file.stream(statement, size):
        ids = ids_of(sides, batch)
        unknown.update(ids)
        yield ids
    for ids in replaced_rows(sides, dim=job.target.dim, size=size):
        if fresh := [identifier for identifier in ids if identifier not in unknown]:
            yield fresh


def declared_rows(sides: Sides, job: Job, *, size: int) -> Iterator[TargetRows]:
    """Read the vectors in service that an application wrote and declared to be of the new space."""
    statement = (
        f"SELECT {key_texts(sides, 't')}, {sides.column('vector', 't')} AS v FROM {sides.served()} t "
        f"WHERE {sides.column('space', 't')} = {text_literal(job.target.id)} AND {sides.column('source', 't')} IS NULL"
    )
    for batch in sides.file.stream(statement, size):
        vectors = vectors_of(batch.column("v"), job.target.dim, sides.table.name)
        yield TargetRows(ids_of(sides, batch), vectors, np.ones(len(vectors), bool))


def replaced_rows(sides: Sides, *, dim: int, size: int, in_transaction: bool = False) -> Iterator[list[str]]:
    """Find rows in service whose vector is not the one on record any more."""
    statement = (
        f"SELECT {key_texts(sides, 't')}, {sides.column('vector', 't')} AS v, {sides.column('digest', 't')} AS d "
        f"FROM {sides.served()} t WHERE {sides.column('source', 't')} IS NOT NULL"
    )
    for batch in sides.file.stream(statement, size, own_snapshot=not in_transaction):
        digests = vector_digests(vectors_of(batch.column("v"), dim, sides.table.name))
        recorded = batch.column("d").to_numpy(zero_copy_only=False)
        places = np.flatnonzero(digests != recorded).tolist()
        if places:
            ids = ids_of(sides, batch)
            yield [ids[place] for place in places]


def count_without_old(sides: Sides, replaced: Sequence[str]) -> int:
    """Count the rows in service that have no old vector of their own: new ones, and those with the given ids."""
    known = f"t ANTI JOIN {sides.parked} o ON {sides.same('t', 'o')} AND {sides.column('source', 't')} IS NOT NULL"
    fresh = sides.file.query(f"SELECT count(*) FROM {sides.served()} {known}")[0][0]
    batch = batch_of(sides, replaced)
    old = f"{batch_rows(sides)} b SEMI JOIN {sides.parked} o ON {sides.same('b', 'o')}"
    return int(fresh) + int(sides.file.table(f"SELECT count(*) AS n FROM {old}", batch).column("n")[0].as_py())
