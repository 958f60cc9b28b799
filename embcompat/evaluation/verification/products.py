"""Tiles of float32 products of all impostor pairs, each with a bound on its rounding error."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from embcompat.embeddings import normalize_rows
from embcompat.evaluation.verification.pairs import Float64, Rows, VerificationPairs, to_distance

Float32 = NDArray[np.float32]
S = TypeVar("S")
T = TypeVar("T")

_BITS = 9
_TILE = 1 << _BITS
"""Rows and columns of a tile: 1 MiB of float32 stays in a core's cache while it is looked at [ours]."""

_WINDOW = 4
"""Tiles that are computed ahead, for each thread."""

_ROUNDOFF = float(np.finfo(np.float32).eps) / 2
_LARGEST = float(np.finfo(np.float32).max)
_UNDERFLOW = 1e-36


@dataclass(frozen=True, eq=False)
class Candidates:
    """Impostor pairs that may lie above a cut.

    A gap falls as the score rises: it is minus the cosine, minus the dot product, or the squared distance, each times
    a constant. Gaps and the gaps of thresholds compare as scores and thresholds do, the other way round.

    Attributes:
        anchor_rows: Array (k,).
        positive_rows: Array (k,).
        gaps: Array (k,), computed in float32.
    """

    anchor_rows: Rows
    positive_rows: Rows
    gaps: Float32

    def select(self, rows: NDArray[Any]) -> Candidates:
        """Return the given candidates (indices or a boolean mask)."""
        return Candidates(self.anchor_rows[rows], self.positive_rows[rows], self.gaps[rows])

    @classmethod
    def joined(cls, parts: list[Candidates]) -> Candidates:
        """Concatenate candidates."""
        fields = ("anchor_rows", "positive_rows", "gaps")
        empty = cls(np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0, np.float32))
        return cls(*(np.concatenate([getattr(part, name) for part in [empty, *parts]]) for name in fields))


class PairProducts:
    """Every anchor times every positive of another subject, in float32, tile by tile.

    Both sides are written as rows whose product is the gap: for the cosine as unit vectors; for the Euclidean
    distance as (−2a, ‖a‖², 1) and (b, 1, ‖b‖²) after a common shift, whose product is ‖a − b‖². Scaling by a power of
    two, which is exact, keeps float32 in range. Rows stand in the order of their subjects, so that the pairs of one
    subject are small blocks. Where both sides are the same rows, one half of the pairs is computed.

    The error bound is the classical one for a product of k terms, γ = (k + 8)u / (1 − (k + 8)u) times the product of
    the absolute values, which holds for any order of summation; the 8 covers the rounding of the inputs, and of the
    float64 reference. Source: Higham, Accuracy and Stability of Numerical Algorithms (2002), section 3.1.

    Each thread computes whole tiles with a BLAS of one thread: threads of BLAS that wait for each other, and spin
    while they do, cost several times their work on a busy machine. [ours]

    Args:
        pairs: Who is compared with whom.
    """

    def __init__(self, pairs: VerificationPairs) -> None:
        self.pairs = pairs
        self.copies = 2 if pairs.symmetric else 1
        orders = [np.argsort(codes, kind="stable") for codes in (pairs.anchor_subjects, pairs.positive_subjects)]
        sides = [
            side[order].astype(np.float64) for side, order in zip((pairs.anchors, pairs.positives), orders, strict=True)
        ]
        if pairs.similarity == "euclidean":
            sides, sizes, self._scale = _euclidean_sides(*sides)
        elif pairs.similarity == "cosine":
            sides, self._scale = [-normalize_rows(sides[0]), normalize_rows(sides[1])], 1.0
            sizes = [np.full(len(side), 0.5) for side in sides]
        else:
            scales = [_power_of_two(side) for side in sides]
            sides, self._scale = [-sides[0] * scales[0], sides[1] * scales[1]], scales[0] * scales[1]
            sizes = [np.einsum("ij,ij->i", side, side) / 2 for side in sides]
        terms = (sides[0].shape[1] + 8) * _ROUNDOFF
        errors = [terms / (1 - terms) * size + _UNDERFLOW for size in sizes]
        factors = pairs.votes.anchors, pairs.votes.positives
        codes = pairs.anchor_subjects, pairs.positive_subjects
        self._left, self._right = (
            _Side(side.astype(np.float32), order, error, code[order], factor[code[order]])
            for side, order, error, code, factor in zip(sides, orders, errors, codes, factors, strict=True)
        )
        self._errors = tuple(side.errors[np.argsort(side.rows)] for side in (self._left, self._right))
        self._factors = tuple(factor[code] for factor, code in zip(factors, codes, strict=True))
        self._gap_sum = 0.0 if pairs.similarity == "euclidean" else _impostor_sum(sides, self._left, self._right)
        self._root_sum = 0.0

    def gap(self, score: Any) -> Float64:
        """Return the gap of scores, exact within float64; it falls as the score rises."""
        values = np.asarray(score, dtype=np.float64) * self._scale
        return np.square(np.minimum(values, 0.0)) if self.pairs.similarity == "euclidean" else -values

    @property
    def slack(self) -> float:
        """The largest error of any gap."""
        return float(self._left.errors.max() + self._right.errors.max())

    def errors(self, candidates: Candidates) -> Float64:
        """Return a bound on how far each gap is from its exact value."""
        left, right = self._errors
        return np.asarray(left[candidates.anchor_rows] + right[candidates.positive_rows])

    def votes(self, candidates: Candidates) -> Float64:
        """Return what each candidate counts."""
        left, right = self._factors
        return np.asarray(left.take(candidates.anchor_rows) * right.take(candidates.positive_rows))

    def mirrored(self, candidates: Candidates) -> Candidates:
        """Add each pair the other way round, where one half of the pairs is computed."""
        if self.copies == 1:
            return candidates
        other = Candidates(candidates.positive_rows, candidates.anchor_rows, candidates.gaps)
        return Candidates.joined([candidates, other])

    def mean_distance(self) -> float:
        """Return the mean distance of the impostor pairs by their votes, once `scan` was exhausted.

        The Euclidean mean is made of float32 distances; the others are exact within float64.
        """
        total = self.pairs.impostor_votes
        if self.pairs.similarity == "euclidean":
            return self._root_sum / total / self._scale
        return float(to_distance(-self._gap_sum / total / self._scale, self.pairs.similarity))

    def scan(
        self, above: float, look: Callable[[Candidates], T], *, progress: Callable[[int], object] | None = None
    ) -> Iterator[T]:
        """Look, tile by tile, at the impostor pairs whose exact score may be above ``above``.

        Args:
            above: The cut.
            look: Called in a thread with the candidates of a tile; where both sides are the same rows, with each pair
                one way only.
            progress: Called with the number of pairs of each tile that is finished.

        Yields:
            What ``look`` returned, in the order of the tiles.
        """
        self._root_sum = 0.0
        rows, columns = (range(0, len(side.rows), _TILE) for side in (self._left, self._right))
        tiles = [(row, column) for row in rows for column in columns if self.copies == 1 or column >= row]
        blas = ThreadpoolController().select(user_api="blas")
        threads = max((library.num_threads for library in blas.lib_controllers), default=1)
        work = partial(self._look, float(self.gap(above)), look)
        with blas.limit(limits=1), ThreadPoolExecutor(threads) as pool:
            for result, roots, cells in _ahead(pool, work, tiles, threads * _WINDOW):
                self._root_sum += self.copies * roots
                if progress is not None:
                    progress(cells)
                yield result

    def _look(self, gap: float, look: Callable[[Candidates], T], tile: tuple[int, int]) -> tuple[T, float, int]:
        """Look at the candidates of one tile; also return its votes times distances, and the pairs it stands for."""
        left, right = self._left.part(tile[0]), self._right.part(tile[1])
        gaps = left.vectors @ right.vectors.T
        for anchor_rows, positive_rows in _same_subjects(left.subjects, right.subjects):
            gaps[anchor_rows, positive_rows] = np.inf
        diagonal = self.copies == 2 and tile[0] == tile[1]
        if diagonal:
            gaps[np.tril_indices(len(gaps))] = np.inf
        limit = gap + float(left.errors.max() + right.errors.max())
        bound = np.nextafter(np.float32(limit), np.float32(np.inf)) if limit < _LARGEST else np.float32(_LARGEST)
        cells = np.flatnonzero(gaps.ravel() <= bound)
        # A division of each cell would cost more than its product.
        full = gaps.shape[1] == _TILE
        rows, columns = (cells >> _BITS, cells & (_TILE - 1)) if full else np.divmod(cells, gaps.shape[1])
        result = look(Candidates(left.rows.take(rows), right.rows.take(columns), gaps.ravel().take(cells)))
        roots = 0.0
        if self.pairs.similarity == "euclidean":
            gaps[gaps == np.inf] = 0.0
            np.sqrt(np.maximum(gaps, 0.0, out=gaps), out=gaps)
            roots = float(left.factors @ (gaps @ right.factors.astype(np.float32)).astype(np.float64))
        return result, roots, gaps.size * (1 if diagonal else self.copies)


@dataclass(frozen=True, eq=False)
class _Side:
    """One side in the order of its subjects: float32 vectors, original rows, errors, subjects and factors of votes."""

    vectors: Float32
    rows: Rows
    errors: Float64
    subjects: Rows
    factors: Float64

    def part(self, start: int) -> _Side:
        """Return the rows of a tile."""
        rows = slice(start, start + _TILE)
        return _Side(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def _ahead(pool: ThreadPoolExecutor, work: Callable[[S], T], tasks: list[S], window: int) -> Iterator[T]:
    """Work on tasks a few ahead, and yield the results in order."""
    running: deque[Future[T]] = deque()
    for task in tasks:
        if len(running) == window:
            yield running.popleft().result()
        running.append(pool.submit(work, task))
    while running:
        yield running.popleft().result()


def _same_subjects(left: Rows, right: Rows) -> Iterator[tuple[slice, slice]]:
    """Yield the block of each subject that is on both sides of a tile; both are sorted."""
    for subject in np.intersect1d(left, right):
        first, last = (np.searchsorted(left, subject, side=side) for side in ("left", "right"))
        start, stop = (np.searchsorted(right, subject, side=side) for side in ("left", "right"))
        yield slice(first, last), slice(start, stop)


def _impostor_sum(sides: list[Float64], left: _Side, right: _Side) -> float:
    """Add up the products of all impostor pairs, each times its vote."""
    sums = [side * order.factors[:, np.newaxis] for side, order in zip(sides, (left, right), strict=True)]
    subjects = int(max(left.subjects.max(), right.subjects.max())) + 1
    by_subject = np.zeros((2, subjects, sums[0].shape[1]))
    for total, side, order in zip(by_subject, sums, (left, right), strict=True):
        np.add.at(total, order.subjects, side)
    return float(by_subject[0].sum(axis=0) @ by_subject[1].sum(axis=0) - np.vdot(by_subject[0], by_subject[1]))


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
        loss = np.linalg.norm(raw, axis=1) * scale * 2.0**-29  # the shift's own rounding, as so many float32 roundings
        sizes.append(2 * np.square(np.linalg.norm(side, axis=1) + loss))
        squares, ones = np.einsum("ij,ij->i", side, side)[:, np.newaxis], np.ones((len(side), 1))
        shifted[row] = np.hstack([-2 * side, squares, ones]) if row == 0 else np.hstack([side, ones, squares])
    return shifted, sizes, scale
