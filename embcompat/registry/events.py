"""The log of decisions: numbered and append-only; the last entry counts."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import final

from embcompat.errors import RegistryError
from embcompat.registry.records import EVENTS, Action, Event, event_path
from embcompat.registry.storage import Storage

_TRIES = 1_000


@dataclass(frozen=True)
class Standing:
    """The state that results from some events.

    Attributes:
        labels: The subject that each label points to.
        retired: The subjects that are out of use.
        void: Events that changed nothing, by number, with the reason.
    """

    labels: Mapping[str, str]
    retired: frozenset[str]
    void: Mapping[int, str]


def settle(events: Sequence[Event]) -> Standing:
    """Derive the state from the events, so that two writers cannot contradict each other.

    Each writer checks before it writes, but another one may write in between. So the order of the numbers decides: a
    promotion of a retired subject is void, and so is the retirement of a subject that has a label.

    Args:
        events: Every event, in the order of their numbers.

    Example:
        >>> at = datetime(2026, 1, 1, tzinfo=UTC)
        >>> retire = Event(action="retire", subject="facenet@3", at=at)
        >>> promote = Event(action="promote", subject="facenet@3", label="production", at=at)
        >>> settle([retire, promote]).void
        {2: 'facenet@3 was retired before it was promoted to production'}
    """
    labels: dict[str, str] = {}
    retired: set[str] = set()
    void: dict[int, str] = {}
    for number, event in enumerate(events, start=1):
        if event.action == "promote" and event.label is not None:
            if event.subject in retired:
                void[number] = f"{event.subject} was retired before it was promoted to {event.label}"
            else:
                labels[event.label] = event.subject
        elif event.action == "retire":
            pointing = sorted(label for label, subject in labels.items() if subject == event.subject)
            if pointing:
                void[number] = f"{event.subject} was promoted to {', '.join(pointing)} before it was retired"
            else:
                retired.add(event.subject)
    return Standing(labels, frozenset(retired), void)


@final
class EventLog:
    """The events of one registry.

    A number belongs to the first writer; a later writer takes the next number. Events never change, so each is read
    once.

    Args:
        storage: Where the registry lies.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._events: list[Event] = []
        self._guard = threading.Lock()

    def read(self) -> tuple[Event, ...]:
        """Return every event in the order of their numbers.

        Raises:
            RegistryError: If a number is missing, or an event is damaged.
        """
        with self._guard:
            while True:
                path = event_path(len(self._events) + 1)
                data = self._storage.read(path)
                if data is None:
                    if not self._storage.list(EVENTS, after=path):
                        return tuple(self._events)
                    data = self._storage.read(path)  # it may have been written in between
                if data is None:
                    raise RegistryError(f"{path} in {self._storage.url} is missing, and later events are there.")
                self._events.append(Event.from_bytes(data, where=f"{path} in {self._storage.url}"))

    def append(
        self, action: Action, subject: str, *, label: str | None = None, blob: str | None = None, reason: str = ""
    ) -> None:
        """Write one more event.

        Raises:
            RegistryError: If other writers took every number that was tried, or one of them came first with an event
                that makes this one void (see `settle`).
        """
        event = Event(action=action, subject=subject, label=label, blob=blob, reason=reason, at=datetime.now(UTC))
        for _ in range(_TRIES):
            number = len(self.read()) + 1
            if self._storage.create(event_path(number), event.to_bytes()):
                if reason_void := self.standing().void.get(number):
                    raise RegistryError(f"{reason_void}: another writer was faster. Nothing changed.")
                return
        raise RegistryError(f"the event could not be written in {_TRIES} tries: too many writers. Try again.")

    def standing(self) -> Standing:
        """Return the state after all events, in the order of their numbers."""
        return settle(self.read())

    def reference(self, space_id: str) -> str | None:
        """Return the digest of the last reference that was given for a space, or None."""
        blobs = [event.blob for event in self.read() if event.action == "reference" and event.subject == space_id]
        return blobs[-1] if blobs else None
