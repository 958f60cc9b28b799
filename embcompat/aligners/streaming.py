"""Sums over pairs in files that are larger than memory. Imports pyarrow."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embcompat.aligners.sums import GramSums
from embcompat.errors import FileFormatError, InputError
from embcompat.files.reading.opening import open_vectors
from embcompat.files.reading.streams import VectorFile

_BLOCK_ROWS = 2_048
"""Rows in a block: fewer than are read at a time, so that their copies stay in the processor's cache."""


@dataclass(frozen=True)
class _Block:
    """Consecutive rows of a file; ids and labels are None in a file without them."""

    start: int
    vectors: NDArray[Any]
    ids: pa.ChunkedArray | None = None
    labels: pa.ChunkedArray | None = None


def stream_sums(
    source: str | Path, target: str | Path, *, validation: float = 0.1, seed: int = 0
) -> tuple[GramSums, GramSums]:
    """Sum over the pairs of two files in one pass, for `fit_affine_sums`.

    The files hold the same items in the same order: Parquet as `Embeddings.save` writes it (ids are compared row by
    row), or ``.npy`` arrays, whose rows are paired by their number. Which pairs are held out is decided by a checksum
    of their label, or of their id (the row number in a ``.npy`` file) where there are no labels, so a subject falls
    entirely on one side, whatever file it is in. Sums of several files, also from several workers, are added with
    `GramSums.merge`. Memory is that of the sums and a few blocks of rows; files of numbers are mapped, not read.

    Args:
        source: File of source vectors.
        target: File of target vectors.
        validation: Fraction of the pairs to hold out [ours].
        seed: Seed of the choice.

    Returns:
        The sums over the pairs to fit on, and over the held-out pairs; either may be empty.

    Raises:
        FileFormatError: If a file does not hold vectors, or the two do not hold the same items.
        InputError: If a vector is not valid in its space, or ``validation`` is not a fraction.
    """
    if not 0 <= validation < 1:
        raise InputError(f"validation must be a fraction below 1. Got {validation}.")
    source, target = Path(source), Path(target)
    sums = None
    for left, right, held_out in _marked_blocks(source, target, validation, seed):
        if sums is None:
            dims = left.vectors.shape[1], right.vectors.shape[1]
            sums = GramSums(*dims), GramSums(*dims)
        try:
            for part, rows in zip(sums, (~held_out, held_out), strict=True):
                part.add(left.vectors[rows], right.vectors[rows])
        except InputError as error:
            finite = np.isfinite(left.vectors).all(axis=1) & np.isfinite(right.vectors).all(axis=1)
            row = left.start + int(np.argmin(finite))
            raise InputError(f"{source} and {target} must be finite. Row {row} holds NaN or infinity.") from error
    if sums is None:
        raise InputError(f"at least one pair is needed. {source} and {target} hold none.")
    return sums


def _marked_blocks(
    source: Path, target: Path, validation: float, seed: int
) -> Iterator[tuple[_Block, _Block, NDArray[np.bool_]]]:
    """Read both files in blocks and say which pairs are held out."""
    bound = round(validation * 2**32)
    for left, right in _paired_blocks(source, target):
        _check_items(left, right, source, target)
        known = (column for column in (left.labels, right.labels, left.ids, right.ids) if column is not None)
        column = next(known, pa.array(np.arange(left.start, left.start + len(left.vectors))))
        keys = column.cast(pa.string()).cast(pa.binary()).to_pylist()
        checksums = map(zlib.crc32, keys, repeat(zlib.crc32(f"{seed}:".encode())))
        yield left, right, np.fromiter(checksums, np.int64, len(keys)) < bound


def _paired_blocks(source: Path, target: Path) -> Iterator[tuple[_Block, _Block]]:
    files = _open(source), _open(target)
    counts = [file.rows for file in files]
    if counts[0] != counts[1]:
        raise FileFormatError(f"{source} and {target} must hold the same items. Got {counts[0]} and {counts[1]} rows.")
    blocks = _blocks(files[0]), _blocks(files[1])
    with ThreadPoolExecutor(2) as pool:  # both at once; reading ahead would slow the products, which use all processors
        while True:
            left, right = pool.map(next, blocks, (None, None))
            if left is None or right is None:
                return
            yield left, right


def _open(path: Path) -> VectorFile:
    file = open_vectors(path)
    if file.space is None and file.roles.id is not None:
        raise FileFormatError(f"{path} does not name its space. Write it with Embeddings.save.")
    return file


def _blocks(file: VectorFile) -> Iterator[_Block]:
    """Read a file in blocks of `_BLOCK_ROWS` rows, the last one excepted."""
    roles = file.roles
    columns = [name for name in (roles.id, roles.label) if name is not None]
    for block in file.blocks(0, _BLOCK_ROWS, columns):
        if not len(block):
            return
        ids, labels = _column(block.others, roles.id), _column(block.others, roles.label)
        if labels is not None and labels.null_count:
            row = block.start + labels.to_pylist().index(None)
            raise FileFormatError(
                f"{file.path}: column {roles.label} must hold a label in every row. Row {row} has none."
            )
        yield _Block(block.start, block.vectors, ids, labels)


def _column(table: pa.Table | None, name: str | None) -> pa.ChunkedArray | None:
    return None if table is None or name is None else table.column(name)


def _check_items(left: _Block, right: _Block, source: Path, target: Path) -> None:
    for what in ("ids", "labels"):
        column, partner = getattr(left, what), getattr(right, what)
        if column is None or partner is None or column.equals(partner):
            continue
        pairs = list(zip(column.to_pylist(), partner.to_pylist(), strict=True))
        row = next((row for row, (one, other) in enumerate(pairs) if one != other), None)
        if row is None:  # equal strings of two Arrow types
            continue
        raise FileFormatError(
            f"{source} and {target} must hold the same {what}, row by row. Row {left.start + row} has "
            f"{pairs[row][0]!r} and {pairs[row][1]!r}. pair_embeddings joins files that fit in memory by id."
        )
