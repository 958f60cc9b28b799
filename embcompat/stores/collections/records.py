"""Records of a collection, and where their vectors came from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embcompat.stores.values import Rows

_JSON: Final = json.JSONEncoder(sort_keys=True, default=repr)


class Provenance(NamedTuple):
    """Where the vector of a record came from; a tuple, because every pass makes one for each record.

    Attributes:
        space: Id of the space that it is in.
        artifact: The artifact that converted it; None for a native vector.
        source: Digest of the source record; None where an application wrote the vector.
        rest: Digest of everything else of the source record when it was copied.
        digest: Fingerprint of the vector itself.
    """

    space: str | None = None
    artifact: str | None = None
    source: int | None = None
    rest: str | None = None
    digest: int | None = None


UNKNOWN = Provenance()
"""Provenance of a record that nobody has declared."""


class Record(NamedTuple):
    """A record of a collection.

    Attributes:
        id: Its key as a string.
        vector: Array (dim,), float32.
        rest: Everything else that it holds, by name; a migration copies it.
        provenance: Where the vector came from.
    """

    id: str
    vector: NDArray[np.float32]
    rest: Mapping[str, Any]
    provenance: Provenance = UNKNOWN

    def rest_digest(self) -> str:
        """Return a digest of everything but the vector."""
        text = _JSON.encode(self.rest)
        return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).hexdigest()


def rows_of(records: Sequence[Record], recorded: Sequence[int], texts: Sequence[str] | None, dim: int) -> Rows:
    """Return records as rows, with the digests on record."""
    return Rows([record.id for record in records], stacked(records, dim), np.array(recorded, dtype=np.int64), texts)


def stacked(records: Sequence[Record], dim: int) -> NDArray[np.float32]:
    """Return the vectors of records as an array (n, dim)."""
    if not records:
        return np.empty((0, dim), np.float32)
    return np.array([record.vector for record in records], dtype=np.float32)
