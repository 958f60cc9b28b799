"""Blocked float32 products of all pairs, each with a bound on its rounding error. numpy only."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embcompat.embeddings import normalize_rows
from embcompat.evaluation.verification.pairs import Float64, Rows, VerificationPairs, to_distance

_BLOCK_ROWS = 512
_BLOCK_COLUMNS = 16_384
_CHUNK_CELLS = 1 << 16  # 256 KiB of float32: stays in a core's cache while it is looked at
_THREADS = os.cpu_count() or 1
_ROUNDOFF = float(np.finfo(np.float32).eps) / 2
_LARGEST = float(np.finfo(np.float32).max)
_UNDERFLOW = 1e-36


@dataclass(frozen=True, eq=False)
class Candidates:
    """Impostor pairs that may lie above a cut.

    A key rises with the score (it is the cosine, the dot product, or minus the squared distance, each times a
    constant), so keys and the keys of thresholds compare as scores and thresholds do.

    Attributes:
        anchor_rows: Array (k,).
        positive_rows: Array (k,).
        keys: Array (k,), computed in float32.
        errors: Array (k,), a bound on how far each key is from its exact value.
    """

    anchor_rows: Rows
    positive_rows: Rows
    keys: Float64
    errors: Float64

    def select(self, rows: NDArray[Any]) -> Candidates:
        """Return the given candidates (indices or a boolean mask)."""
        return Candidates(self.anchor_rows[rows], self.positive_rows[rows], self.keys[rows], self.errors[rows])

    @classmethod
    def joined(cls, parts: list[Candidates]) -> Candidates:
        """Concatenate candidates."""
        fields = ("anchor_rows", "positive_rows", "keys", "errors")
        empty = cls(np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0), np.empty(0))
        return cls(*(np.concatenate([getattr(part, name) for part in [empty, *parts]]) for name in fields))


class PairProducts:
    """Every anchor times every positive, in float32, block by block.

    Both sides are written as rows whose product is minus the key: for the cosine as unit vectors; for the Euclidean
    distance as (−2a, ‖a‖², 1) and (b, 1, ‖b‖²) after a common shift, whose product is ‖a − b‖². Scaling by a power of
    two, which is exact, keeps float32 in range.

    The error bound is the classical one for a product of k terms, γ = (k + 8)u / (1 − (k + 8)u) times the product of
    the absolute values, which holds for any order of summation; the 8 covers the rounding of the inputs, and of the
    float64 reference. Source: Higham, Accuracy and Stability of Numerical Algorithms (2002), section 3.1.

    Args:
        pairs: Who is compared with whom.
    """

    def __init__(self, pairs: VerificationPairs) -> None:
        self.pairs = pairs
        sides = [np.asarray(side, dtype=np.float64) for side in (pairs.anchors, pairs.positives)]
        if pairs.similarity == "euclidean":
            sides, sizes, self._scale = _euclidean_sides(*sides)
        elif pairs.similarity == "cosine":
            sides, self._scale = [-normalize_rows(sides[0]), normalize_rows(sides[1])], 1.0
            sizes = [np.full(len(side), 0.5) for side in sides]
        else:
            scales = [_power_of_two(side) for side in sides]
            sides, self._scale = [-sides[0] * scales[0], sides[1] * scales[1]], scales[0] * scales[1]
            sizes = [np.einsum("ij,ij->i", side, side) / 2 for side in sides]
        self._left, self._right = (np.ascontiguousarray(side, dtype=np.float32) for side in sides)
        terms = (self._left.shape[1] + 8) * _ROUNDOFF
        self._left_error, self._right_error = (terms / (1 - terms) * size + _UNDERFLOW for size in sizes)
        self._score_sum = -float(sides[0].sum(axis=0) @ sides[1].sum(axis=0)) / self._scale
        self._root_sum = 0.0

    def key(self, score: Any) -> Float64:
        """Return the key of scores, exact within float64."""
        values = np.asarray(score, dtype=np.float64) * self._scale
        return -np.square(np.minimum(values, 0.0)) if self.pairs.similarity == "euclidean" else values

    def distance_sum(self) -> float:
        """Add up the distances of all pairs, genuine and self-pairs included, once `candidates` was exhausted.

        The Euclidean sum is made of float32 distances; the others are exact within float64.
        """
        if self.pairs.similarity == "euclidean":
            return self._root_sum / self._scale
        count = len(self.pairs.anchors) * len(self.pairs.positives)
        return float(to_distance(self._score_sum / count, self.pairs.similarity)) * count

    def candidates(self, above: float) -> Iterator[Candidates]:
        """Yield, block by block, the impostor pairs whose exact score may be above ``above``."""
        self._root_sum = 0.0
        buffer = np.empty(min(_BLOCK_ROWS, len(self._left)) * min(_BLOCK_COLUMNS, len(self._right)), dtype=np.float32)
        gap = -float(self.key(above))
        with ThreadPoolExecutor(_THREADS) as pool:
            for start in range(0, len(self._left), _BLOCK_ROWS):
                rows = slice(start, start + _BLOCK_ROWS)
                for column in range(0, len(self._right), _BLOCK_COLUMNS):
                    columns = slice(column, column + _BLOCK_COLUMNS)
                    left, right = self._left[rows], self._right[columns]
                    block = buffer[: len(left) * len(right)]
                    np.matmul(left, right.T, out=block.reshape(len(left), len(right)))
                    slack = float(self._left_error[rows].max() + self._right_error[columns].max())
                    found, gaps = self._below(pool, block, gap + slack)
                    anchor_rows, positive_rows = np.divmod(found, len(right))
                    yield self._impostors(anchor_rows + start, positive_rows + column, gaps, gap)

    def _below(
        self, pool: ThreadPoolExecutor, block: NDArray[np.float32], limit: float
    ) -> tuple[Rows, NDArray[np.float32]]:
        """Find the cells of a block up to a limit, and add up its distances."""
        bound = np.nextafter(np.float32(limit), np.float32(np.inf)) if limit < _LARGEST else np.float32(np.inf)
        euclidean = self.pairs.similarity == "euclidean"
        chunks = -(-len(block) // _CHUNK_CELLS)
        step = -(-chunks // _THREADS) * _CHUNK_CELLS
        starts = range(0, len(block), step)
        parts = [block[start : start + step] for start in starts]
        scanned = list(pool.map(_scan, starts, parts, repeat(bound), repeat(euclidean)))
        self._root_sum += math.fsum(root for part in scanned for root in part.roots)
        return (
            np.concatenate([cells for part in scanned for cells in part.cells]),
            np.concatenate([values for part in scanned for values in part.values]),
        )

    def _impostors(self, anchors: Rows, positives: Rows, gaps: NDArray[np.float32], limit: float) -> Candidates:
        errors = self._left_error[anchors] + self._right_error[positives]
        keep = self.pairs.anchor_subjects[anchors] != self.pairs.positive_subjects[positives]
        keep &= gaps <= limit + errors
        return Candidates(anchors, positives, -gaps.astype(np.float64), errors).select(keep)


def _power_of_two(array: Float64) -> float:
    """Return the power of two that brings the largest absolute value into [½, 1)."""
    exponent = int(np.frexp(np.abs(array).max())[1])
    return float(np.ldexp(1.0, min(max(-exponent, -500), 500)))


def _euclidean_sides(anchors: Float64, positives: Float64) -> tuple[list[Float64], list[Float64], float]:
    """Return both sides of ‖a − b‖² as one product, the sizes of its terms, and the scale of the distance."""
    centre = (anchors.mean(axis=0) + positives.mean(axis=0)) / 2
    shifted = [anchors - centre, positives - centre]
    scale = min(_power_of_two(side) for side in shifted)
    sizes = []
    for row, (side, raw) in enumerate(zip(shifted, (anchors, positives), strict=True)):
        side *= scale
        lost = np.linalg.norm(raw, axis=1) * scale * 2.0**-29  # the shift's own rounding, as so many float32 roundings
        sizes.append(2 * np.square(np.linalg.norm(side, axis=1) + lost))
        squares, ones = np.einsum("ij,ij->i", side, side)[:, np.newaxis], np.ones((len(side), 1))
        shifted[row] = np.hstack([-2 * side, squares, ones]) if row == 0 else np.hstack([side, ones, squares])
    return shifted, sizes, scale


@dataclass(frozen=True, eq=False)
class _Scan:
    """What one thread found in its part of a block, chunk by chunk."""

    cells: list[Rows]
    values: list[NDArray[np.float32]]
    roots: list[float]


def _scan(offset: int, part: NDArray[np.float32], bound: np.float32, euclidean: bool) -> _Scan:
    """Find the cells up to a bound; add up the roots of all cells, overwriting them, where they are squares."""
    result = _Scan([], [], [])
    for start in range(0, len(part), _CHUNK_CELLS):
        chunk = part[start : start + _CHUNK_CELLS]
        found = np.flatnonzero(chunk <= bound)
        result.cells.append(found + (offset + start))
        result.values.append(chunk[found])
        if euclidean:
            result.roots.append(_sum_of_roots(chunk))
    return result


def _sum_of_roots(chunk: NDArray[np.float32]) -> float:
    """Add up √max(x, 0), overwriting the chunk; rounding makes a vanishing square negative now and then."""
    with np.errstate(invalid="ignore"):
        np.sqrt(chunk, out=chunk)
    total = float(chunk.sum())
    if np.isnan(total):
        total = float(np.nansum(chunk))
    return total
