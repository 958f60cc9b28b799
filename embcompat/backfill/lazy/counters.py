"""The counters of a lazy backfill."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from pydantic import JsonValue


@dataclass(frozen=True)
class LazyCounters:
    """What a lazy backfill did so far.

    Attributes:
        queries: Queries served.
        seconds: Total time of serving them.
        candidates: Rows that they found.
        hits: Candidates that were native already.
        degraded: Candidates that were ranked by their converted vector.
        rows_embedded: Rows that the new model embedded, `LazyBackfill.warm_up` included.
        rows_written: Rows that were written back as native.
        rows_waiting: Rows whose write-back failed: they are used, and written with the next ones.
        items_refused: Items that the embedder left out: gone, or it cannot embed them. They are not tried again.
        embedder_failures: Batches for which the embedder raised an error.
        write_failures: Times that the store refused rows.
        read_failures: Times that the store could not be read: the query was then answered by its first search alone.
        last_error: The last of these errors, or None.
    """

    queries: int = 0
    seconds: float = 0.0
    candidates: int = 0
    hits: int = 0
    degraded: int = 0
    rows_embedded: int = 0
    rows_written: int = 0
    rows_waiting: int = 0
    items_refused: int = 0
    embedder_failures: int = 0
    write_failures: int = 0
    read_failures: int = 0
    last_error: str | None = None

    @property
    def hit_rate(self) -> float:
        """Share of the candidates that were native already; 0 before the first query."""
        return self.hits / self.candidates if self.candidates else 0.0

    @property
    def milliseconds_per_query(self) -> float:
        """Mean time of a query; 0 before the first one."""
        return 1_000 * self.seconds / self.queries if self.queries else 0.0

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the counters as JSON."""
        return {
            **asdict(self),
            "hit_rate": self.hit_rate,
            "milliseconds_per_query": self.milliseconds_per_query,
        }
