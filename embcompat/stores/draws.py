"""A uniform sample, or given rows, from one scan of a store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from embcompat.errors import StoreError
from embcompat.stores.values import Job, Rows

_SCAN_ROWS = 4_096


class Scannable(Protocol):
    """A store that can be scanned."""

    url: str

    def dim(self) -> int:
        """Return the length of the vectors in service."""

    def scan(self, job: Job, *, batch_size: int, missing_only: bool, claim: bool = False) -> Iterator[Rows]:
        """Read the rows that have a vector."""


def scan_sample(
    store: Scannable, job: Job, count: int | None, *, seed: int, columns: Sequence[str]
) -> tuple[Rows, dict[str, Sequence[Any]]]:
    """Scan a store once and keep the rows with the smallest hashes of seed and id; memory is that of the sample.

    Raises:
        StoreError: If a column is asked for that a scan does not read.
    """
    batches = _start(store, job, columns)
    hashes = [np.empty(0, np.uint64)]
    waiting = 0
    for rows in store.scan(job, batch_size=_SCAN_ROWS, missing_only=False):
        batches.append(rows)
        hashes.append(_hashes(rows.ids, seed))
        waiting += len(rows)
        if count is not None and waiting > 2 * count + _SCAN_ROWS:
            batches, hashes = _smallest(batches, hashes, count)
            waiting = count
    if count is not None:
        batches, hashes = _smallest(batches, hashes, count)
    return _with_texts(store, batches, columns)


def scan_selection(
    store: Scannable, job: Job, ids: Sequence[str], *, columns: Sequence[str]
) -> tuple[Rows, dict[str, Sequence[Any]]]:
    """Scan a store once and keep the given rows.

    Raises:
        StoreError: As `scan_sample`.
    """
    batches, chosen = _start(store, job, columns), frozenset(ids)
    for rows in store.scan(job, batch_size=_SCAN_ROWS, missing_only=False):
        batches.append(rows.select(np.array([identifier in chosen for identifier in rows.ids], dtype=bool)))
    return _with_texts(store, batches, columns)


def _start(store: Scannable, job: Job, columns: Sequence[str]) -> list[Rows]:
    if unreadable := [name for name in columns if name != job.text_column]:
        raise StoreError(f"{store.url}: only a text column can be read from this store. Got {unreadable[0]!r}.")
    return [Rows([], np.empty((0, store.dim()), np.float32), np.empty(0, np.int64))]


def _with_texts(store: Scannable, batches: list[Rows], columns: Sequence[str]) -> tuple[Rows, dict[str, Sequence[Any]]]:
    whole = _stack(batches)
    if columns and whole.texts is None and len(whole):
        raise StoreError(f"{store.url}: this store does not read other columns. Got {columns[0]!r}.")
    return whole, {name: whole.texts or [] for name in columns}


def _hashes(ids: Sequence[str], seed: int) -> NDArray[np.uint64]:
    key = str(seed).encode()
    joined = b"".join(hashlib.blake2b(text.encode(), digest_size=8, key=key).digest() for text in ids)
    return np.frombuffer(joined, dtype="<u8").astype(np.uint64)


def _smallest(
    batches: list[Rows], hashes: list[NDArray[np.uint64]], count: int
) -> tuple[list[Rows], list[NDArray[np.uint64]]]:
    whole, numbers = _stack(batches), np.concatenate(hashes)
    chosen = np.sort(np.argsort(numbers, kind="stable")[:count])
    mask = np.zeros(len(numbers), bool)
    mask[chosen] = True
    return [whole.select(mask)], [numbers[chosen]]


def _stack(batches: list[Rows]) -> Rows:
    if len(batches) == 1:
        return batches[0]
    filled = [batch for batch in batches if len(batch)] or batches[:1]
    texts = None if filled[0].texts is None else [text for batch in filled for text in batch.texts or ()]
    return Rows(
        [identifier for batch in filled for identifier in batch.ids],
        np.concatenate([batch.vectors for batch in filled]),
        np.concatenate([batch.recorded for batch in filled]),
        texts,
    )
