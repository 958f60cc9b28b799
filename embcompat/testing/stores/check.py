"""The suite that every gallery store passes.

A store is tried through a harness that does what applications do: make a gallery, put, delete and read rows, all by
the store's own means. The checks drive the migration, and look at the gallery through the harness, never through the
store itself. Each check works on a fresh gallery and leaves nothing open.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final
from unittest import SkipTest

import numpy as np
from numpy.typing import NDArray

from embcompat.aligners import AffineAligner
from embcompat.embeddings import normalize_rows, split_pairs
from embcompat.export import save_artifact
from embcompat.migration.checks import relative_error
from embcompat.runtime import OnnxAligner
from embcompat.stores import GalleryStore, open_store
from embcompat.testing.pairs import make_pairs

Vector = NDArray[np.float32]
Gallery = dict[Any, Vector | None]
"""Native key → vector; None for a row without one."""

SOURCE_DIM, TARGET_DIM = 48, 32

ONE_CLIENT = "only one process may have this store open"


class StoreHarness(ABC):
    """What an application does with a gallery, by the store's own means.

    Args:
        folder: A folder for galleries that are files or folders, or for what is beside them.

    Attributes:
        holds_nulls: Whether a row may be without a vector.
        refuses_old_writes: Whether the store itself refuses old-space vectors after a cutover; otherwise a sweep has
            to find them.
        keeps_norms: Whether vectors come back as long as they were put; otherwise all checks use unit vectors.
        rows: Rows of a gallery in most checks, at least 50.
        many_clients: Whether several processes may have a gallery open at once.
        tolerance: Largest relative difference between a vector put and got.
        text_column: What the store calls the notes, where a migration reads texts beside the vectors; otherwise None.
        folder: As given.
    """

    holds_nulls = False
    refuses_old_writes = False
    keeps_norms = True
    rows = 300
    many_clients = True
    tolerance = 1e-4
    text_column: str | None = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers = itertools.count()

    @final
    def fresh_path(self, name: str) -> Path:
        """Return a path in the folder at which nothing is; its name holds a blank."""
        return self.folder / f"{next(self._numbers)} {name}"

    @abstractmethod
    def key_sets(self, count: int) -> dict[str, list[Any]]:
        """Return ``count`` native keys of each kind that the store takes, by the name of the kind."""

    @abstractmethod
    def create(self, gallery: Gallery) -> str:
        """Make a gallery in which every row has also a note, ``note <key>``; return its address."""

    @abstractmethod
    def put(self, url: str, gallery: Gallery) -> None:
        """Insert or replace rows in the way of an application that knows nothing of a migration."""

    @abstractmethod
    def delete(self, url: str, keys: Sequence[Any]) -> None:
        """Delete rows."""

    @abstractmethod
    def get(self, url: str) -> Gallery:
        """Return every row in service, as an application that has just opened the gallery sees it."""

    @abstractmethod
    def notes(self, url: str) -> dict[Any, str]:
        """Return the note of every row in service."""

    def put_notes(self, url: str, notes: Mapping[Any, str]) -> None:
        """Replace notes of rows, and nothing else of them; needed where `text_column` names the notes."""
        raise NotImplementedError

    def create_two(self, gallery: Gallery, other: Gallery) -> tuple[str, str] | None:  # noqa: ARG002
        """Make a gallery whose rows have two vectors; return the address of each, or None where none can have two."""
        return None

    def build_index(self, url: str) -> None:  # noqa: B027 - files have none, and servers build theirs themselves
        """Build the vector index that an application would have; by default there is none."""

    def metric(self, url: str) -> str | None:  # noqa: ARG002
        """Return the metric in service in the store's own words; None where the application chooses it."""
        return None

    def nearest(self, url: str, query: Vector) -> Any:
        """Return the key that the application's own search finds first; by default it compares all rows by cosine."""
        gallery = {key: vector for key, vector in self.get(url).items() if vector is not None}
        scores = normalize_rows(np.array(list(gallery.values()), np.float32)) @ query
        return list(gallery)[int(np.argmax(scores))]


@dataclass(frozen=True)
class StoreBench:
    """A harness, and artifacts to migrate with.

    Attributes:
        harness: What makes and reads galleries.
        shrink: 48 → 32 dimensions.
        same: 48 → 48 dimensions.
        wrong: As ``same``, applied in the wrong direction.
        following: 48 → 32 dimensions, from the space in which ``same`` ends; without a canary.
        folder: For files of the checks.
    """

    harness: StoreHarness
    shrink: OnnxAligner
    same: OnnxAligner
    wrong: OnnxAligner
    following: OnnxAligner
    folder: Path

    def gallery(self, rows: int | None = None, *, kind: str | None = None, seed: int = 5) -> Gallery:
        """Return random source vectors under keys of one kind, the first one by default."""
        rows = rows or self.harness.rows
        sets = self.harness.key_sets(rows)
        keys = sets[kind] if kind is not None else next(iter(sets.values()))
        vectors = np.random.default_rng(seed).standard_normal((rows, SOURCE_DIM)).astype(np.float32)
        if not self.harness.keeps_norms:
            vectors = normalize_rows(vectors)
        return dict(zip(keys, vectors, strict=True))

    @contextmanager
    def store(self, url: str) -> Iterator[GalleryStore]:
        """Open the store as a new process would."""
        with closing(open_store(url)) as store:
            yield store


def store_bench(harness: StoreHarness, folder: Path) -> StoreBench:
    """Make the artifacts that the checks migrate with."""
    normalized = not harness.keeps_norms
    shrink = _aligner(folder / "shrink", TARGET_DIM, sign=1, normalized=normalized)
    same = _aligner(folder / "same", SOURCE_DIM, sign=1, normalized=normalized)
    wrong = _aligner(folder / "wrong", SOURCE_DIM, sign=-1, normalized=normalized)
    following = save_artifact(
        AffineAligner(np.eye(TARGET_DIM, SOURCE_DIM), np.zeros(TARGET_DIM), normalize=normalized),
        folder / "following",
        source=same.artifact.target,
        target=shrink.artifact.target.model_copy(update={"version": "2"}),
    )
    return StoreBench(harness, shrink, same, wrong, OnnxAligner(following, threads=1), folder)


def _aligner(path: Path, target_dim: int, *, sign: int, normalized: bool) -> OnnxAligner:
    known = make_pairs(400, source_dim=SOURCE_DIM, target_dim=target_dim, normalized=normalized)
    artifact = save_artifact(
        AffineAligner(sign * known.matrix, known.offset, normalize=normalized),
        path,
        source=known.pairs.source.space,
        target=known.pairs.target.space,
        split=split_pairs(known.pairs),
    )
    return OnnxAligner(artifact, threads=1)


def check_store(harness: StoreHarness, folder: Path) -> list[str]:
    """Run every check on a store.

    Args:
        harness: What makes and reads galleries of the store.
        folder: An empty folder for files of the checks.

    Returns:
        What could not be checked, and why: "check_two_vectors: …".

    Raises:
        AssertionError: If a check fails; the traceback names it.
    """
    from embcompat.testing.stores.checks import STORE_CHECKS

    bench, skipped = store_bench(harness, folder), []
    for check in STORE_CHECKS:
        try:
            check(bench)
        except SkipTest as reason:
            skipped.append(f"{check.__name__}: {reason}")
    return skipped


StoreCheck = Callable[[StoreBench], None]


def skip_unless(holds: bool, reason: str) -> None:
    """Leave out a check that the store gives no occasion for; pytest and `check_store` report it.

    Raises:
        SkipTest: Unless it holds.
    """
    if not holds:
        raise SkipTest(reason)


def require(holds: bool, message: str) -> None:
    """Raise AssertionError with the message unless it holds."""
    if not holds:
        raise AssertionError(message)


def require_gallery(gallery: Gallery, expected: Gallery, tolerance: float, message: str) -> None:
    """Raise AssertionError unless two galleries have the same rows and nearly the same vectors."""
    missing, extra = expected.keys() - gallery.keys(), gallery.keys() - expected.keys()
    require(not missing and not extra, f"{message}: {len(missing)} rows missing, {len(extra)} too many")
    for key, vector in expected.items():
        other = gallery[key]
        if vector is None or other is None:
            require(vector is None and other is None, f"{message}: row {key!r} is {other!r}, not {vector!r}")
        else:
            same = len(other) == len(vector)
            error = relative_error(other[np.newaxis], vector[np.newaxis]) if same else float("inf")
            require(error <= tolerance, f"{message}: the vector of row {key!r} is off by {error:.3g}")


def converted(aligner: OnnxAligner, gallery: Gallery) -> Gallery:
    """Return what a gallery becomes."""
    return {key: None if vector is None else aligner.transform(vector) for key, vector in gallery.items()}


def in_service(bench: StoreBench, url: str, expected: Gallery, message: str) -> None:
    """Require that a gallery serves these rows."""
    near(bench.harness.get(url), expected, bench, message)


def near(gallery: Gallery, expected: Gallery, bench: StoreBench, message: str) -> None:
    """Require that two galleries are the same, as exactly as the store is."""
    require_gallery(gallery, expected, bench.harness.tolerance, message)


def refused(error: type[Exception], action: Callable[[], object], why: str) -> None:
    """Require that an action raises an error."""
    try:
        action()
    except error:
        return
    raise AssertionError(f"must be refused with {error.__name__}: {why}")


def change_gallery(bench: StoreBench, url: str, old: Gallery) -> Gallery:
    """Insert, replace and delete rows as an application does; return what is there afterwards."""
    keys = list(old)
    more = bench.gallery(len(old) + 7, seed=6)
    inserted = [key for key in more if key not in old]
    put = {key: more[key] for key in itertools.chain(keys[1 :: len(old) // 6], inserted)}
    bench.harness.put(url, put)
    deleted = keys[:: len(old) // 5]
    bench.harness.delete(url, deleted)
    return {key: vector for key, vector in (old | put).items() if key not in deleted}
