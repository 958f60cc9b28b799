"""The files that a migration writes about itself: a journal of its steps, and a list of the rows that failed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, final

from pydantic import JsonValue

from embcompat.errors import MigrationError
from embcompat.redaction import redact_values


@final
class Journal:
    """Appends one JSON object per line, with ``time`` (seconds since 1970), ``event`` and the values of the event.

    Args:
        path: The file, or None to keep no journal.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def write(self, event: str, **values: JsonValue) -> None:
        """Append an event."""
        self.write_all([{"event": event, **values}])

    def write_all(self, lines: Iterable[dict[str, JsonValue]]) -> None:
        """Append several lines at once."""
        lines = [{name: redact_values(value) for name, value in line.items()} for line in lines]
        if self.path is None or not lines:
            return
        now = round(time.time(), 3)
        text = "".join(json.dumps({"time": now, **line}, ensure_ascii=False) + "\n" for line in lines)
        with self.path.open("a+b") as stream:
            if stream.tell() > 0:
                stream.seek(-1, os.SEEK_END)
                text = text if stream.read(1) == b"\n" else "\n" + text  # a killed process left half a line
            stream.write(text.encode())


def read_journal(path: Path) -> list[dict[str, Any]]:
    """Read the steps of a migration, the oldest first; consecutive batches are one step.

    Args:
        path: A file that ``Journal`` has written.

    Returns:
        For each step its ``time`` (seconds since 1970), ``event`` and the values of the event. A step of batches has
        the number of ``batches``, their ``rows`` and ``failures``, and ``until``, the time of its last batch. A line
        that a killed process left unfinished is an event ``unreadable`` at the time of the line before it.

    Raises:
        MigrationError: If there is no such file.
    """
    if not path.is_file():
        raise MigrationError(f"there is no journal at {path}. It is written where migrate run was started.")
    steps: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        try:
            event = json.loads(line)
        except ValueError:
            event = {
                "time": steps[-1].get("until", steps[-1]["time"]) if steps else 0.0,
                "event": "unreadable",
                "line": number,
            }
        last: dict[str, Any] = steps[-1] if steps else {"event": ""}
        if event["event"] != "batch":
            steps.append(event)
        elif last["event"] != "batches":
            steps.append(event | {"event": "batches", "batches": 1, "until": event["time"]})
        else:
            last["until"] = event["time"]
            last["batches"] += 1
            for count in ("rows", "failures"):
                last[count] += event[count]
    return steps
