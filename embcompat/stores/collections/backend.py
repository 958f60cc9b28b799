"""What the engine of a second collection needs of a store: collections by name, and records by id."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from embcompat.similarities import Similarity
from embcompat.stores.collections.records import Provenance, Record
from embcompat.stores.digests import vector_digests


class Collections(ABC):
    """The collections of a store, in which one vector of each record is looked at.

    Each change of one call happens as a whole or not at all, as far as the store can do that, and may be repeated.

    Attributes:
        page_rows: Most ids of one `read`.
        notes_each_vector: Whether a record has provenance of each of its vectors; otherwise of the latest alone.
    """

    page_rows: int = 1_000
    notes_each_vector: bool = True

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Return whether there is a collection of this name."""

    def own_name(self, name: str) -> str:
        """Return what a collection is called itself, where its name may be an alias; by default the name."""
        return name

    @abstractmethod
    def dim(self, name: str) -> int:
        """Return the length of its vectors."""

    @abstractmethod
    def metric(self, name: str) -> Similarity | None:
        """Return how its vectors are compared; None for a way that no space has."""

    @abstractmethod
    def count(self, name: str) -> int:
        """Count its records."""

    @abstractmethod
    def memo(self, name: str) -> dict[str, Any]:
        """Return what migrations have noted about a collection; empty where none has."""

    @abstractmethod
    def set_memo(self, name: str, memo: Mapping[str, Any]) -> None:
        """Note something about a collection."""

    @abstractmethod
    def ids(self, name: str, *, where: str | None = None) -> Iterator[list[str]]:
        """Read the ids of all records, or of those that meet a condition, at most ``page_rows`` at a time.

        Raises:
            InputError: If the store cannot evaluate the condition.
        """

    @abstractmethod
    def read(self, name: str, ids: Sequence[str]) -> list[Record]:
        """Read the given records; those that are not there are left out."""

    @abstractmethod
    def provenances(self, name: str, ids: Sequence[str]) -> dict[str, Provenance]:
        """Return the provenance of those of the given records that are there."""

    def present(self, name: str, ids: Sequence[str]) -> Collection[str]:
        """Return those of the given ids that are there; by default those that have a provenance, known or not."""
        return self.provenances(name, ids).keys()

    @final
    def write(self, name: str, records: Sequence[Record]) -> None:
        """Insert or replace whole records."""
        if records:
            self.put(name, records, self.existing(name, [record.id for record in records]))

    @final
    def existing(self, name: str, ids: Sequence[str]) -> dict[str, Record]:
        """Return those of the given records that are there, by id; of a new collection, hardly anything is read."""
        present = self.present(name, ids)
        return {record.id: record for record in self.read(name, list(present))} if present else {}

    @abstractmethod
    def put(self, name: str, records: Sequence[Record], existing: Mapping[str, Record]) -> None:
        """Insert records, or replace them whole.

        Args:
            name: The collection.
            records: n records.
            existing: What is there under their ids.
        """

    @abstractmethod
    def delete(self, name: str, ids: Sequence[str]) -> None:
        """Delete records."""

    def write_vectors(self, name: str, records: Sequence[Record]) -> None:
        """Replace the vectors of records and their provenance; everything else of them, too, unless a store can not."""
        self.write(name, records)

    @abstractmethod
    def see(self, name: str, ids: Sequence[str]) -> None:
        """Note that a collection has had records, whatever becomes of them; `drop` forgets it with the collection."""

    @abstractmethod
    def seen(self, name: str, ids: Sequence[str]) -> set[str]:
        """Return those of the given ids that were noted by `see`."""

    @abstractmethod
    def forget(self, name: str) -> None:
        """Forget what `see` has noted."""

    def exclusive(self) -> AbstractContextManager[None]:
        """Hold writers while records are read and written again; by default a store cannot."""
        return nullcontext()

    @abstractmethod
    def value(self, record: Record, column: str) -> Any:
        """Return what a record holds under a name; None where it lacks that.

        Raises:
            StoreError: If no record of the store can hold anything under this name.
        """

    @abstractmethod
    def create_like(self, source: str, target: str, *, dim: int, metric: Similarity | None) -> None:
        """Make an empty collection with the settings of another one, unless it is there.

        Args:
            source: The collection to resemble.
            target: Name of the new one.
            dim: Length of its vectors.
            metric: How they are compared; as those of the other one when None.
        """

    @abstractmethod
    def drop(self, name: str) -> None:
        """Delete a collection, if it is there."""

    @abstractmethod
    def switch(self, name: str, *, parked: str, entering: str) -> None:
        """Give a name to another collection, and the collection that had it the name ``parked``."""

    def fingerprints(self, vectors: NDArray[np.float32]) -> list[int]:
        """Return what tells each vector (n, dim) from others, once it is stored: 64 bits; by default its digest."""
        return [int(digest) for digest in vector_digests(vectors)]

    def same(self, fingerprint: int | None, other: int) -> bool:
        """Return whether two fingerprints are of one vector; by default whether they are equal."""
        return fingerprint == other

    def finish_index(self, name: str) -> None:  # noqa: B027 - most stores index what they are given
        """Wait until the index of a collection is built; by default it always is."""

    def index_kind(self, name: str) -> str | None:  # noqa: ARG002
        """Return the kind of index of a collection; by default none."""
        return None

    def close(self) -> None:  # noqa: B027 - a store may hold nothing open
        """Let go of files and connections."""
