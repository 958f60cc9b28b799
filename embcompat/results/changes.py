"""Which queries a conversion makes better, and which worse."""

from __future__ import annotations

from embcompat.results.values import Value


class QueryChange(Value):
    """One query before and after the gallery was converted.

    Attributes:
        query: Its id.
        text: What was searched for; None where the queries carry no texts.
        before: Rank of its best relevant item today, from 1.
        after: The same in the converted gallery, searched with the new model.
        difference: The metric in the converted gallery less today's.
    """

    query: str
    text: str | None = None
    before: int
    after: int
    difference: float


class QueryChanges(Value):
    """What converting does to single queries.

    Attributes:
        better: Number of queries whose metric rises.
        worse: Number of queries whose metric falls.
        same: Number of queries whose metric stays.
        gains: The queries that gain most, the largest gain first.
        losses: The queries that lose most, the largest loss first.
    """

    better: int
    worse: int
    same: int
    gains: tuple[QueryChange, ...] = ()
    losses: tuple[QueryChange, ...] = ()
