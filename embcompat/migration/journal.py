"""What a migration writes for people and machines: a journal of its steps, and a list of the rows that failed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import final

from pydantic import JsonValue

from embcompat.redaction import redact_values


@final
class Journal:
    """Appends one JSON object a line; each has ``time`` (seconds since 1970), ``event`` and what belongs to it.

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
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(text)
