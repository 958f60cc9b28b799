"""What a migration of a DuckDB table cannot do or keep."""

from __future__ import annotations

from embcompat.errors import StoreError
from embcompat.stores.duckdb.catalog import SIMILARITIES, Index, read_comments, referring_tables, vector_constraints
from embcompat.stores.duckdb.sides import Sides
from embcompat.stores.duckdb.swap import swap_vectors
from embcompat.stores.metrics import metric_obstacles
from embcompat.stores.values import Job, Obstacle, Phase


def table_obstacles(sides: Sides, indexes: list[Index], job: Job, phase: Phase) -> list[Obstacle]:
    """List what stands in the way of a cutover."""
    table, texts = sides.table, []
    if referring := referring_tables(sides.file, table):
        texts.append(
            f"DuckDB cannot replace a table that foreign keys refer to. They are in {', '.join(referring)}: make these "
            "tables again without the foreign key, and with it after the migration."
        )
    if constraints := vector_constraints(sides.file, table):
        texts.append(f"Constraints look at the vector: {', '.join(constraints)}.")
    if job.text_column is not None and job.text_column.lower() not in map(str.lower, table.columns):
        texts.append(f"There is no column {job.text_column!r}. Columns: {', '.join(table.columns)}.")
    if any(index.column is not None for index in indexes) and not sides.file.has_vss:
        texts.append(
            "It has an HNSW index, and the extension vss is not installed. Install it with: pip install "
            "'embcompat[duckdb]'; its version must be that of duckdb."
        )
    if count := _other_lengths(sides, job) if phase in ("untouched", "prepared") else 0:
        texts.append(
            f"{count} rows have vectors of another length than {job.source.dim}. Repair them, or set them to NULL."
        )
    obstacles = [Obstacle(text) for text in texts]
    if table.calls_functions() and (comments := read_comments(sides.file, table)[1]):
        columns = ", ".join(comments)
        text = (
            f"The comments of columns ({columns}) would be lost: a default, CHECK or generated column of the table "
            "calls a function, and DuckDB cannot replay new comments of such a table after a crash."
        )
        obstacles.append(Obstacle(text, acceptable=True))
    for metric in sorted({index.options.get("metric", "") for index in _of_vector(sides, indexes)} - {""}):
        obstacles += metric_obstacles(job, SIMILARITIES[metric])
    if not obstacles and phase == "untouched" and (problem := _rehearsal(sides, indexes, job)):
        obstacles.append(Obstacle(problem))
    return obstacles


def switch_notes(sides: Sides, indexes: list[Index]) -> list[str]:
    """List what an application must know about the switch."""
    notes = [
        f"DuckDB does not report all options of the HNSW index {index.name}: ef_construction and ef_search will be the "
        "defaults, 128 and 64" + ("." if "M" in index.options else ", M and M0 16 and 32.")
        for index in indexes
        if index.column is not None
    ]
    if sides.table.calls_functions():
        notes.append(
            "Other threads of a process that cuts over must not write to the table meanwhile: a default, CHECK or "
            "generated column of it calls a function, so that DuckDB cannot hold them."
        )
    return notes


def _of_vector(sides: Sides, indexes: list[Index]) -> list[Index]:
    return [index for index in indexes if index.column == sides.table.vector]


def _other_lengths(sides: Sides, job: Job) -> int:
    """Count rows of a list column whose vector is not of the length of the source space."""
    if sides.table.dim is not None:
        return 0
    statement = f"SELECT count(*) FROM {sides.table.beside()} s WHERE len({sides.vector('s')}) <> ?"
    return int(sides.file.query(statement, [job.source.dim])[0][0])


def _rehearsal(sides: Sides, indexes: list[Index], job: Job) -> str | None:
    """Try the swap without rows, and take everything back; return why it fails."""
    if not sides.file.writable():
        return None
    try:
        with sides.file.transaction(commit=False):
            sides.create(sides.target, sides.table.kind_for(job.target.dim))
            swap_vectors(
                sides,
                indexes,
                incoming=sides.target,
                parked=sides.parked,
                dim=job.target.dim,
                metric=job.metric,
                rows=False,
            )
    except StoreError as error:
        return f"DuckDB cannot make the table again: {error}"
    return None
