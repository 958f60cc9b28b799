"""The extractor protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from embcompat.errors import InputError
from embcompat.spaces import SpaceVersion


@runtime_checkable
class Extractor(Protocol):
    """A model that turns items (texts, images) into vectors of one space.

    Any class with these three members is one; `embcompat.testing.check_extractor` tells whether it keeps its word. One
    that has a fourth, ``notes(items)``, tells what a user should know of how it reads these items; see
    `extraction_notes`. One that has ``remarks()`` tells what it noticed while it read them; see `extraction_remarks`.
    """

    @property
    def space(self) -> SpaceVersion:
        """The space of the vectors; its fingerprint covers whatever changes them."""

    @property
    def chunk_size(self) -> int:
        """How many items to hand over in one call: enough to fill a batch, few enough to show progress."""

    def extract(self, items: Sequence[Any]) -> NDArray[np.float32]:
        """Embed items; row i belongs to item i, and does not depend on the items beside it.

        Args:
            items: Any number of items, none included.

        Returns:
            Array (n, space.dim), float32.

        Raises:
            ExtractionError: If an item cannot be embedded; says which and why. Nothing stands in for its vector.
            ServiceError: If the model runs in a service that is down, refuses or is at a limit.
        """


def check_batch_size(batch_size: int) -> int:
    """Refuse a batch size below 1.

    Raises:
        InputError: If it is not a positive integer.
    """
    if not isinstance(batch_size, int) or batch_size < 1:
        raise InputError(f"batch_size must be a positive integer. Got {batch_size!r}.")
    return batch_size


def extraction_notes(extractor: Extractor, items: Sequence[Any]) -> list[str]:
    """Return what a user should know of how an extractor reads items, a sentence each; nothing is embedded.

    For instance how many texts are longer than the model reads, or that a model which treats queries and documents
    differently was told neither.
    """
    notes = getattr(extractor, "notes", None)
    return [] if notes is None else list(notes(items))


def extraction_remarks(extractor: Extractor) -> list[str]:
    """Return what an extractor noticed in the items that it has embedded so far, a sentence each.

    For instance how many photographs held several faces, of which one was embedded.
    """
    remarks = getattr(extractor, "remarks", None)
    return [] if remarks is None else list(remarks())


@dataclass(frozen=True)
class Estimate:
    """What embedding some items will take in a service.

    Attributes:
        tokens: Tokens of all items, about.
        requests: Requests.
        cost: What the tokens cost, in the currency of the price; None where no price is known.
    """

    tokens: int
    requests: int
    cost: float | None


@runtime_checkable
class EstimatingExtractor(Protocol):
    """An extractor that can tell beforehand what items will take."""

    def estimate(self, items: Sequence[Any]) -> Estimate:
        """Estimate without calling the service."""
