"""The merge of the hits of several searches, by arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Integers = NDArray[np.int64]
Hits = tuple[NDArray[Any], NDArray[Any]]

_BLOCK_BYTES = 128 << 10
"""Size of one array of a block of queries: what is larger costs more to allocate than to merge [ours]."""

_TABLE_ROWS = 1 << 23
"""Width of the range of integer ids up to which their places stand in a table, 64 MiB [ours]."""


def merge_hits(
    sides: Sequence[Hits], missing: Sequence[Float64], combine: Callable[..., Float64], k: int
) -> tuple[Float64, NDArray[np.object_]]:
    """Merge the hits of several searches into one list a query.

    Equal scores keep the order in which the sides brought the rows; of an id that a side brings twice the last score
    counts.

    Args:
        sides: Scores (q, hits) and ids (q, hits) of each search, over the same queries.
        missing: For each side the score (q, 1) of rows that it did not bring.
        combine: Makes one array of scores from the array of each side, all of one shape.
        k: How many hits a query gets.

    Returns:
        Scores (q, k), the best first, and ids (q, k); cut to the fewest that any query has.
    """
    scores = [np.asarray(each, dtype=np.float64) for each, _ in sides]
    ids = [np.asarray(each) for _, each in sides]
    low, high = _range(ids)
    table = np.empty(high - low + 1, dtype=np.int64) if high - low < _TABLE_ROWS else None
    dtype = np.dtype(object if table is None else np.int64)
    widths = [each.shape[1] for each in scores]
    rows = max(1, _BLOCK_BYTES // (8 * max(1, sum(widths))))
    merged = [(np.empty((0, k)), np.empty((0, k), dtype=object))]
    for start in range(0, len(scores[0]), rows):
        block = slice(start, start + rows)
        names = np.concatenate([each[block].astype(dtype) for each in ids], axis=1)
        places = _first_places(names, low, table)
        sheets = []
        for each, score, at in zip(scores, missing, np.split(places, np.cumsum(widths)[:-1], axis=1), strict=True):
            sheet = np.repeat(score[block], sum(widths))
            sheet[at] = each[block]
            sheets.append(sheet)
        total = combine(*sheets)
        total[places.ravel() != np.arange(names.size)] = np.nan
        best = _best_places(total.reshape(names.shape), k)
        merged.append((total[best], names.ravel()[best].astype(object)))
    width = min(len(ranked.T) for ranked, _ in merged)
    return (
        np.concatenate([ranked[:, :width] for ranked, _ in merged]),
        np.concatenate([named[:, :width] for _, named in merged]),
    )


def _range(ids: Sequence[NDArray[Any]]) -> tuple[int, int]:
    """Return the lowest and the highest id; a range too wide for a table where ids are not whole numbers of 64 bits."""
    ends = [(int(each.min()), int(each.max())) for each in ids if each.size and each.dtype.kind in "iu"]
    if len(ends) < len(ids) or max(high for _, high in ends) > np.iinfo(np.int64).max:
        return 0, _TABLE_ROWS
    return min(low for low, _ in ends), max(high for _, high in ends)


def _first_places(names: NDArray[Any], low: int, table: Integers | None) -> Integers:
    """Return, for each place in a block of rows (q, n), the first place of its row that holds the same id.

    Places are counted through the whole block, so that they index its flat arrays.
    """
    places = np.arange(names.size).reshape(names.shape)
    firsts = np.empty_like(places)
    for row, name in enumerate(names):
        if table is None:
            first_places: dict[Any, int] = {}
            firsts[row] = list(map(first_places.setdefault, name.tolist(), places[row].tolist()))
        else:
            keys = name - low
            table[keys[::-1]] = places[row, ::-1]  # Of equal keys the last assignment stays: the first place.
            table.take(keys, out=firsts[row])
    return firsts


def _best_places(scores: Float64, k: int) -> Integers:
    """Return the places of the k best scores of each row (q, k), equal ones in their order; NaN is no score."""
    width = min(k, int(np.count_nonzero(scores == scores, axis=1).min()))
    if not width:
        return np.empty((len(scores), 0), dtype=np.int64)
    negated = -scores
    limit = np.partition(negated, width - 1, axis=1)[:, width - 1 : width]
    candidates = negated <= limit
    spare = np.count_nonzero(candidates, axis=1) - width
    for row in np.flatnonzero(spare):
        candidates[row, np.flatnonzero(negated[row] == limit[row])[-spare[row] :]] = False
    places = np.flatnonzero(candidates).reshape(len(scores), width)
    order = np.argsort(negated.ravel()[places], axis=1, kind="stable")
    return np.take_along_axis(places, order, axis=1)
