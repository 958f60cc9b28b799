"""The log of decisions: numbered, append-only, the last entry counts."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import final

from embcompat.errors import RegistryError
from embcompat.registry.records import EVENTS, Action, Event, event_path
from embcompat.registry.storage import Storage

_TRIES = 1_000


@final
class EventLog:
    """The events of one registry.

    A number belongs to whoever writes it first; who comes too late takes the next one. Events never change, so each
    is read once.

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
            RegistryError: If other writers took every number that was tried.
        """
        event = Event(action=action, subject=subject, label=label, blob=blob, reason=reason, at=datetime.now(UTC))
        for _ in range(_TRIES):
            if self._storage.create(event_path(len(self.read()) + 1), event.to_bytes()):
                return
        raise RegistryError(f"the event could not be written in {_TRIES} tries: too many writers. Try again.")

    def labels(self) -> dict[str, str]:
        """Return each label with the subject that was given it last."""
        return {event.label: event.subject for event in self.read() if event.action == "promote" and event.label}

    def retired(self) -> frozenset[str]:
        """Return the subjects that were retired."""
        return frozenset(event.subject for event in self.read() if event.action == "retire")

    def reference(self, space_id: str) -> str | None:
        """Return the digest of the last reference that was given for a space, or None."""
        found = [event.blob for event in self.read() if event.action == "reference" and event.subject == space_id]
        return found[-1] if found else None
