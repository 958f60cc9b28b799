"""Bulk requests: many documents at once, of which a server may refuse some."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from embcompat.errors import StoreError
from embcompat.stores.opensearch.connection import BUSY, RequestError, Server, quoted

_REQUEST_BYTES: Final = 5 << 20
"""Size of a request [ours]: small servers of cloud providers take 10 MiB at most, others 100 MB."""

_PAUSES_SECONDS: Final = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)

Operation = tuple[Mapping[str, Any], Mapping[str, Any] | None]
"""What to do, such as ``{"index": {"_id": "7"}}``, and the document where it takes one."""


def bulk(server: Server, index: str, operations: Sequence[Operation], *, where: str) -> None:
    """Do many operations on an index without its default ingest pipeline.

    An operation whose condition does not hold any more, or whose document is gone, is left out.

    Args:
        server: The server.
        index: The index, not an alias.
        operations: What to do.
        where: Where the gallery is, for the errors.

    Raises:
        StoreError: If the server refuses one of them.
    """
    encoded = [
        b"".join(
            json.dumps(part, ensure_ascii=False).encode(errors="surrogatepass") + b"\n"
            for part in parts
            if part is not None
        )
        for parts in operations
    ]
    waiting = [slice(start, end) for start, end in _requests(encoded)]
    pauses = iter(_PAUSES_SECONDS)
    while waiting:
        places = waiting.pop(0)
        try:
            answer = server.request(
                "POST", f"/{quoted(index)}/_bulk", {"pipeline": "_none"}, body=b"".join(encoded[places])
            )
        except RequestError as error:
            if error.status != 413 or places.stop - places.start == 1:
                raise
            middle = (places.start + places.stop) // 2
            waiting[:0] = [slice(places.start, middle), slice(middle, places.stop)]
            continue
        busy = []
        for place, item in zip(range(places.start, places.stop), answer["items"], strict=True):
            (result,) = item.values()
            absent = result["status"] == 404 and "index_not_found" not in result.get("error", {}).get("type", "")
            if result["status"] in BUSY:
                busy.append(slice(place, place + 1))
            elif result["status"] >= 300 and result["status"] != 409 and not absent:
                raise StoreError(f"{where}: document {result['_id']!r} is refused: {_reason(result['error'])}")
        if busy:
            if (pause := next(pauses, None)) is None:
                raise StoreError(f"{where}: the server is busy, and did not take {len(busy)} documents.")
            time.sleep(pause)
            waiting[:0] = _joined(busy)


def _requests(encoded: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Return the first place of each request, and the place after its last one."""
    start, size = 0, 0
    for place, lines in enumerate(encoded):
        if size and size + len(lines) > _REQUEST_BYTES:
            yield start, place
            start, size = place, 0
        size += len(lines)
    if size:
        yield start, len(encoded)


def _joined(places: Sequence[slice]) -> list[slice]:
    """Join places that follow each other."""
    joined = [places[0]]
    for place in places[1:]:
        if place.start == joined[-1].stop:
            joined[-1] = slice(joined[-1].start, place.stop)
        else:
            joined.append(place)
    return joined


def _reason(error: Any) -> str:
    cause = error.get("caused_by") or {}
    return f"{error.get('reason')} {cause.get('reason', '')}".strip()
