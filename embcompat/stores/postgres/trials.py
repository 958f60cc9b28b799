"""What indexes of PostgreSQL will take: each is built over samples, in temporary tables that are rolled back."""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql

from embcompat.stores.growth import SLACK, IndexEstimate, Samples, extrapolate, time_builds
from embcompat.stores.postgres.catalog.indexes import MissingIndex, missing_indexes
from embcompat.stores.postgres.catalog.partitions import family, is_partitioned
from embcompat.stores.postgres.rows.staging import copy_in
from embcompat.stores.postgres.session import Session

_CLUSTERED_ROWS = 10_000
_CLUSTERED_ROWS_A_LIST = 50
"""How many rows pgvector clusters before it builds an ivfflat index: the larger of both [pgvector 0.8]."""

_SPILL_ROWS = 4_096
"""Rows of the trial with little memory [ours]."""

_OTHER: Final = "it does not hold the converted vectors"

_ROWS: Final = sql.Identifier("embcompat_trial_rows")
_TABLE: Final = sql.Identifier("embcompat_trial")
_LISTS: Final = re.compile(r"\blists\s*=\s*'?(\d+)")
_FULL: Final = re.compile(r"no longer fits .* after (\d+) tuples")


@dataclass(frozen=True)
class _Trial:
    """What builds of one index over samples show.

    Attributes:
        samples: Rows and seconds of each build.
        row_bytes: Size of the index for each row.
        rows_in_memory: Rows of an HNSW graph for which the memory suffices that the server gives to building.
        spill_seconds: Time of an HNSW row beyond these.
        insert_seconds: Time of assigning a row to a list of an ivfflat index.
        lists: Lists of an ivfflat index.
    """

    samples: Samples
    row_bytes: float
    rows_in_memory: int = 0
    spill_seconds: float = 0.0
    insert_seconds: float = 0.0
    lists: int = 0


def estimate_indexes(session: Session, vectors: NDArray[np.float32], *, of_column: bool) -> list[IndexEstimate]:
    """Estimate the indexes that `create_indexes` will build; nothing of the trial stays.

    Args:
        session: The session.
        vectors: Array (n, target_dim), at least one.
        of_column: Whether both sides are columns of one table.
    """
    indexes = [
        (index, member.count(index.source))
        for member in family(session)
        if not is_partitioned(member.connection, member.table)
        for index in missing_indexes(member, of_column=of_column)
    ]
    trials: dict[str, _Trial | str] = {}
    try:
        with session.connection.transaction(force_rollback=True):
            _fill(session, vectors)
            for definition in {index.trial for index, _ in indexes if index.trial}:
                trials[definition] = _try_definition(session, definition, len(vectors))
    except psycopg.Error as error:  # no right to make temporary tables, a server that only reads, a full disk
        reason = str(error).strip().splitlines()[0]
        trials = {index.trial: f"a trial in a temporary table failed: {reason}" for index, _ in indexes}
    return [_estimate(session, index, rows, trials.get(index.trial, _OTHER)) for index, rows in indexes]


def _fill(session: Session, vectors: NDArray[np.float32]) -> None:
    """Copy the vectors into a temporary table."""
    kind = session.target.sized_type
    session.execute(sql.SQL("CREATE TEMP TABLE {} (vector {})").format(_ROWS, kind))
    copy_in(session, _ROWS, ["vector"], [session.target.vector], [vectors])


def _try_definition(session: Session, definition: str, rows: int) -> _Trial | str:
    """Build an index over samples; return why the server refused where it did."""
    try:
        with session.connection.transaction():
            samples = time_builds(partial(_build, session, definition), rows)
            (size,) = session.execute("SELECT pg_relation_size('pg_temp.embcompat_trial_index')").fetchone() or (0,)
            trial = _Trial(samples, size / samples[-1][0])
            if definition.split()[1] == "hnsw":
                return _try_spilling(session, definition, min(rows, _SPILL_ROWS), trial)
            return _try_assigning(session, definition, trial)
    except psycopg.Error as error:
        return f"the server refused to build it over a sample: {str(error).strip()}"


def _build(session: Session, definition: str, rows: int) -> float:
    """Build an index over the first rows; return the seconds."""
    session.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(_TABLE))
    session.execute(
        sql.SQL("CREATE TEMP TABLE {} AS SELECT vector::{} AS {} FROM {} LIMIT {}").format(
            _TABLE,
            session.target.vector_type,
            session.target.vectors,
            _ROWS,
            sql.Literal(rows),
        )
    )
    create = sql.SQL("CREATE INDEX embcompat_trial_index ON {}{}").format(_TABLE, sql.SQL(definition))
    start = time.perf_counter()
    session.execute(create)
    return time.perf_counter() - start


def _try_spilling(session: Session, definition: str, rows: int, trial: _Trial) -> _Trial:
    """Build an HNSW index with as little memory as a server can give, to see how many rows fit and what others cost."""
    megabytes = _setting(session, "maintenance_work_mem") / 1024
    notices: list[str] = []
    listen = lambda notice: notices.append(notice.message_primary or "")  # noqa: E731
    session.connection.add_notice_handler(listen)
    try:
        with session.connection.transaction(force_rollback=True):
            session.execute("SET LOCAL maintenance_work_mem = '1MB'")
            seconds = _build(session, definition, rows)
    finally:
        session.connection.remove_notice_handler(listen)
    full = next((int(match[1]) for notice in notices if (match := _FULL.search(notice))), rows)
    count, whole = trial.samples[-1]
    row_seconds = whole / count
    spill = (seconds - full * row_seconds) / (rows - full) if rows > full else row_seconds
    return replace(trial, rows_in_memory=int(full * megabytes), spill_seconds=max(spill, row_seconds))


def _try_assigning(session: Session, definition: str, trial: _Trial) -> _Trial:
    """Insert rows into an ivfflat index over few rows, to see what it costs to find a row's list."""
    count, _ = trial.samples[-1]
    _build(session, definition, 1)
    start = time.perf_counter()
    session.execute(
        sql.SQL("INSERT INTO {} SELECT vector::{} FROM {} LIMIT {}").format(
            _TABLE, session.target.vector_type, _ROWS, sql.Literal(count)
        )
    )
    lists = _LISTS.search(definition)
    seconds = (time.perf_counter() - start) / count
    return replace(trial, insert_seconds=seconds, lists=100 if lists is None else int(lists[1]))


def _estimate(session: Session, index: MissingIndex, rows: int, trial: _Trial | str) -> IndexEstimate:
    kind = index.definition.split()[1]
    name = f"{kind} {index.name}"
    if isinstance(trial, str):
        return IndexEstimate(name, rows, remark=trial)
    workers = int(min(_setting(session, f"max_parallel_{which}workers") for which in ("maintenance_", "")))
    estimate = _clustered(name, trial, rows, workers) if trial.lists else _grown(name, trial, rows, workers)
    return replace(estimate, bytes=round(trial.row_bytes * rows))


def _grown(name: str, trial: _Trial, rows: int, workers: int) -> IndexEstimate:
    """Estimate an HNSW index: rows that fit into memory, and slower ones."""
    fitting = min(rows, trial.rows_in_memory)
    estimate = extrapolate(name, trial.samples, fitting, workers=workers)
    rest = rows - fitting
    if not rest:
        return estimate
    seconds, low, high = (
        float(part or 0) + rest * trial.spill_seconds * factor
        for part, factor in (
            (estimate.seconds, 1 / math.sqrt(1 + workers)),
            (estimate.seconds_low, 1 / (1 + workers) / SLACK),
            (estimate.seconds_high, 2 * SLACK),
        )
    )
    needed = math.ceil(rows / trial.rows_in_memory * 10) / 10
    remark = (
        f"only about {fitting:,} rows fit into maintenance_work_mem, and the others take longer: "
        f"{needed:g} times as much would hold all"
    )
    return replace(estimate, rows=rows, seconds=seconds, seconds_low=low, seconds_high=high, remark=remark)


def _clustered(name: str, trial: _Trial, rows: int, workers: int) -> IndexEstimate:
    """Estimate an ivfflat index: some rows are clustered by one process, then all are assigned to lists by several."""
    count, whole = trial.samples[-1]
    clustered = min(rows, max(_CLUSTERED_ROWS, _CLUSTERED_ROWS_A_LIST * trial.lists))
    clustering = max(whole - trial.insert_seconds * count, whole / 10) * clustered / count
    assigning = trial.insert_seconds * rows
    return IndexEstimate(
        name,
        rows,
        count,
        seconds=clustering + assigning / math.sqrt(1 + workers),
        seconds_low=(clustering + assigning / (1 + workers)) / SLACK,
        seconds_high=(clustering + assigning) * SLACK,
    )


def _setting(session: Session, name: str) -> float:
    """Return a setting that is a number, in its own unit."""
    row = session.execute("SELECT setting::float8 FROM pg_settings WHERE name = %s", (name,)).fetchone()
    return 0.0 if row is None else float(row[0])
