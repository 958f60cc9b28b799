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
    widths = [each.shape[1] for each in scores]
    rows = max(1, min(len(scores[0]), _BLOCK_BYTES // (8 * max(1, sum(widths)))))
    low = _lowest(ids, bits=(rows * sum(widths)).bit_length())
    dtype = np.dtype(object if low is None else np.int64)
    side_of_place = np.tile(np.repeat(np.arange(len(sides)), widths), rows)
    columns = [slice(end - width, end) for end, width in zip(np.cumsum(widths).tolist(), widths, strict=True)]
    merged = [(np.empty((0, k)), np.empty((0, k), dtype=object))]
    for start in range(0, len(scores[0]), rows):
        block = slice(start, start + rows)
        names = np.concatenate([each[block].astype(dtype, copy=False) for each in ids], axis=1)
        repeats, firsts = _repeated_names(names) if low is None else _repeated_numbers(names, low)
        sheets, owners = [], side_of_place[repeats]
        for side, score in enumerate(scores):
            sheet = missing[side][block].repeat(sum(widths), axis=1)
            sheet[:, columns[side]] = score[block]
            sheet.ravel()[firsts[owners == side]] = sheet.ravel()[repeats[owners == side]]
            sheets.append(sheet)
        total = combine(*sheets)
        total.ravel()[repeats] = np.nan
        best = _best_places(total, k)
        merged.append((total.ravel()[best], names.ravel()[best].astype(object)))
    width = min(len(ranked.T) for ranked, _ in merged)
    return (
        np.concatenate([ranked[:, :width] for ranked, _ in merged]),
        np.concatenate([named[:, :width] for _, named in merged]),
    )


def _lowest(ids: Sequence[NDArray[Any]], *, bits: int) -> int | None:
    """Return the lowest id; None where ids are not whole numbers that leave some bits of 64 free."""
    ends = [(int(each.min()), int(each.max())) for each in ids if each.size and each.dtype.kind in "iu"]
    if len(ends) < len(ids):
        return None
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    return low if high - low < 1 << (63 - bits) and high <= np.iinfo(np.int64).max else None


def _repeated_numbers(names: Integers, low: int) -> tuple[Integers, Integers]:
    """Find the places in a block of rows (q, n) that hold an id again, and the first place of it in that row.

    Places are counted through the whole block, so that they index its flat arrays.
    """
    bits = names.size.bit_length()
    keys = ((names - low) << bits) | np.arange(names.size).reshape(names.shape)
    keys.sort(axis=1)  # Equal ids stand side by side, in the order of their places.
    again = np.zeros(keys.shape, dtype=bool)
    np.equal(keys[:, 1:] >> bits, keys[:, :-1] >> bits, out=again[:, 1:])
    ranks = np.flatnonzero(again)
    first_ranks = ranks - 1
    while (later := again.ravel()[first_ranks]).any():
        first_ranks -= later
    places = keys.ravel() & ((1 << bits) - 1)
    return places[ranks], places[first_ranks]


def _repeated_names(names: NDArray[np.object_]) -> tuple[Integers, Integers]:
    """Do the same for ids that are not whole numbers."""
    firsts: list[int] = []
    for row in names.tolist():
        first_of: dict[Any, int] = {}
        firsts += map(first_of.setdefault, row, range(len(firsts), len(firsts) + len(row)))
    every = np.array(firsts, dtype=np.int64)
    repeats = np.flatnonzero(every != np.arange(len(every)))
    return repeats, every[repeats]


def _best_places(scores: Float64, k: int) -> Integers:
    """Return the places of the k best scores of each row (q, k), equal ones in their order; NaN is no score."""
    width, negated = min(k, scores.shape[1]), -scores
    if not width or np.isnan(limit := _smallest(negated, width)).any():
        width = int(np.count_nonzero(scores == scores, axis=1).min())
        if not width:
            return np.empty((len(scores), 0), dtype=np.int64)
        limit = _smallest(negated, width)
    candidates = negated <= limit
    places = np.flatnonzero(candidates)
    if len(places) > len(scores) * width:
        spare = np.count_nonzero(candidates, axis=1) - width
        for row in np.flatnonzero(spare):
            candidates[row, np.flatnonzero(negated[row] == limit[row])[-spare[row] :]] = False
        places = np.flatnonzero(candidates)
    chosen = places.reshape(len(scores), width)
    order = np.argsort(negated.ravel()[chosen], axis=1, kind="stable")
    return np.take_along_axis(chosen, order, axis=1)


def _smallest(values: Float64, count: int) -> Float64:
    """Return the largest of the ``count`` smallest values of each row (q, 1); NaN where fewer are numbers."""
    return np.partition(values, count - 1, axis=1)[:, count - 1 : count]
