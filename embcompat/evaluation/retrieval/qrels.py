"""Relevance judgements: which gallery items answer which query."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embcompat.embeddings import Embeddings
from embcompat.errors import InputError


@dataclass(frozen=True)
class Qrels:
    """Relevance judgements by id.

    Attributes:
        gains: Query id → {gallery id: gain}. A gain of 0 or less says that the item was judged and is not relevant.

    Raises:
        InputError: If a gain is not a finite number.

    Example:
        >>> Qrels({"q1": {"d1": 2, "d2": 0}}).relevant_items()
        {'d1'}
    """

    gains: Mapping[str, Mapping[str, float]]

    def __post_init__(self) -> None:
        for query, items in self.gains.items():
            for item, gain in items.items():
                if not math.isfinite(gain):
                    raise InputError(f"gains must be finite numbers. Query {query!r}, item {item!r} has {gain}.")

    def __len__(self) -> int:
        return len(self.gains)

    def __repr__(self) -> str:
        return f"Qrels(queries={len(self)}, judgements={sum(map(len, self.gains.values()))})"

    def relevant_items(self) -> set[str]:
        """Return the items that are relevant to some query: fit on others to keep every query held-out."""
        return {item for items in self.gains.values() for item, gain in items.items() if gain > 0}

    @classmethod
    def one_each(cls, ids: Iterable[str]) -> Qrels:
        """Judge one item relevant to each query: the one with the query's own id.

        Example:
            >>> Qrels.one_each(["a", "b"]).gains
            {'a': {'a': 1.0}, 'b': {'b': 1.0}}
        """
        return cls({identifier: {identifier: 1.0} for identifier in ids})

    @classmethod
    def from_labels(cls, queries: Embeddings, gallery: Embeddings) -> Qrels:
        """Judge relevant to each query the gallery items with its label.

        Raises:
            InputError: If either side has no labels.
        """
        if queries.labels is None or gallery.labels is None:
            raise InputError("queries and gallery must have labels to judge by them. Pass qrels instead.")
        members: dict[str, dict[str, float]] = {}
        for identifier, label in zip(gallery.ids.tolist(), gallery.labels.tolist(), strict=True):
            members.setdefault(label, {})[identifier] = 1.0
        labels = zip(queries.ids.tolist(), queries.labels.tolist(), strict=True)
        return cls({identifier: members.get(label, {}) for identifier, label in labels})


@dataclass(frozen=True, eq=False)
class Relevance:
    """Judgements by row: the relevant items of m queries, one query after the other.

    Attributes:
        queries: Rows of the queries (m,); each has at least one relevant item.
        offsets: Where each query's items begin and end (m + 1,).
        rows: Gallery rows of the relevant items (nnz,).
        gains: Their gains, positive (nnz,).
        left_out: Two arrays (e,): number of the query, 0 to m − 1, and gallery row that it must not find.
    """

    queries: NDArray[np.intp]
    offsets: NDArray[np.intp]
    rows: NDArray[np.intp]
    gains: NDArray[np.float64]
    left_out: tuple[NDArray[np.intp], NDArray[np.intp]]

    def __len__(self) -> int:
        return len(self.queries)

    @property
    def numbers(self) -> NDArray[np.intp]:
        """Number of the query of each relevant item (nnz,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def leaked(self, native: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Say which queries have a relevant item among the given gallery rows: a mask (m,)."""
        return np.bincount(self.numbers[native[self.rows]], minlength=len(self)) > 0

    def select(self, queries: NDArray[np.bool_]) -> Relevance:
        """Keep the queries of a mask (m,)."""
        return _relevance(self, queries[self.numbers], queries[self.left_out[0]], *self.left_out)

    def without(self, native: NDArray[np.bool_]) -> Relevance:
        """Judge by the relevant items outside the given gallery rows alone.

        The relevant items inside are left out of the query's ranking, in all lines alike; a query without another
        is dropped. Known as residual collection evaluation in relevance feedback.
        """
        inside = native[self.rows]
        numbers = np.concatenate([self.left_out[0], self.numbers[inside]])
        rows = np.concatenate([self.left_out[1], self.rows[inside]])
        answered = np.bincount(self.numbers[~inside], minlength=len(self)) > 0
        return _relevance(self, ~inside, answered[numbers], numbers, rows)


def _relevance(
    of: Relevance,
    keep: NDArray[np.bool_],
    keep_left_out: NDArray[np.bool_],
    left_out_numbers: NDArray[np.intp],
    left_out_rows: NDArray[np.intp],
) -> Relevance:
    """Keep some relevant items, and the queries that have one."""
    counts = np.bincount(of.numbers[keep], minlength=len(of))
    numbers = np.flatnonzero(counts)
    renumbered = np.cumsum(counts > 0) - 1
    left_out = renumbered[left_out_numbers[keep_left_out]], left_out_rows[keep_left_out]
    offsets = np.concatenate([[0], np.cumsum(counts[numbers])]).astype(np.intp)
    return Relevance(of.queries[numbers], offsets, of.rows[keep], of.gains[keep], left_out)


def match_qrels(qrels: Qrels, query_ids: NDArray[Any], gallery_ids: NDArray[Any], *, exclude_self: bool) -> Relevance:
    """Find the rows that judgements speak of.

    Judgements of absent queries or items are passed over: no system can find what the gallery does not hold.

    Args:
        qrels: The judgements.
        query_ids: Ids of the queries (q,).
        gallery_ids: Ids of the gallery (n,).
        exclude_self: Whether a gallery item with a query's id is the query itself, never to be found by it.
    """
    row_of = {identifier: row for row, identifier in enumerate(gallery_ids.tolist())}
    queries: list[int] = []
    counts: list[int] = []
    rows: list[int] = []
    gains: list[float] = []
    left_out: list[tuple[int, int]] = []
    for query, identifier in enumerate(query_ids.tolist()):
        self_row = row_of.get(identifier, -1) if exclude_self else -1
        matches = [
            (row_of[item], gain)
            for item, gain in qrels.gains.get(identifier, {}).items()
            if gain > 0 and item in row_of and row_of[item] != self_row
        ]
        if not matches:
            continue
        if self_row >= 0:
            left_out.append((len(queries), self_row))
        queries.append(query)
        counts.append(len(matches))
        rows.extend(row for row, _ in matches)
        gains.extend(gain for _, gain in matches)
    pairs = np.array(left_out, dtype=np.intp).reshape(-1, 2)
    return Relevance(
        np.array(queries, dtype=np.intp),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.intp),
        np.array(rows, dtype=np.intp),
        np.array(gains, dtype=np.float64),
        (pairs[:, 0], pairs[:, 1]),
    )


def describe_unmatched(qrels: Qrels, query_ids: NDArray[Any], gallery_ids: NDArray[Any]) -> str | None:
    """Say how many judged queries and relevant items are absent; None where all are there.

    Args:
        qrels: The judgements.
        query_ids: Ids of the queries (q,).
        gallery_ids: Ids of the gallery (n,).

    Raises:
        InputError: If no judged query, or no relevant item, is there; shows ids of both sides.

    Example:
        >>> qrels = Qrels({"q1": {"a": 1.0, "b": 1.0}, "q2": {"a": 1.0}})
        >>> describe_unmatched(qrels, np.array(["q1", "q3"]), np.array(["a", "c"]))
        'Judgements: 1 of 2 queries and 1 of 2 relevant items are not among the queries and items that were passed.'
    """
    sides = []
    for what, judged, present in (
        ("queries", list(qrels.gains), query_ids.tolist()),
        ("items", sorted(qrels.relevant_items()), gallery_ids.tolist()),
    ):
        known = set(present)
        absent = sum(identifier not in known for identifier in judged)
        if judged and absent == len(judged):
            raise InputError(
                f"the judgements must name {what} by their ids. None of the {absent} matches: the first of the "
                f"judgements are {_first(judged)}; the first of the {what} {_first(present)}."
            )
        sides.append((absent, len(judged)))
    (queries, all_queries), (items, all_items) = sides
    if not queries and not items:
        return None
    return (
        f"Judgements: {queries:,} of {all_queries:,} queries and {items:,} of {all_items:,} relevant items are not "
        "among the queries and items that were passed."
    )


def _first(ids: Sequence[str]) -> str:
    return ", ".join(map(repr, ids[:3])) or "none"
