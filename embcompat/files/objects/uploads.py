"""Sending files to an object store, where they are seen only when they are complete."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

UPLOAD_BYTES: Final = 64 << 20
"""Bytes that are handed over before an upload waits for the store, so that memory stays bounded [ours]."""


def slices_of(file: Path) -> Iterator[memoryview]:
    """Yield the bytes of a file, `UPLOAD_BYTES` at a time, without reading it into memory."""
    import pyarrow as pa

    if not file.stat().st_size:
        return
    with pa.memory_map(str(file)) as mapped:
        while len(piece := mapped.read_buffer(UPLOAD_BYTES)):
            yield memoryview(piece)


def send_whole(system: Any, path: str, blocks: Iterator[Any], headers: Mapping[str, str] | None, *, size: int) -> None:
    """Send an object in a thread, which no interrupt reaches: left by an exception, pyarrow completes the upload."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1, "upload") as pool:
        pool.submit(_send, system, path, blocks, headers, size).result()


def _send(system: Any, path: str, blocks: Iterator[Any], headers: Mapping[str, str] | None, size: int) -> None:
    stream = system.open_output_stream(path, metadata=dict(headers) if headers else None)
    try:
        sent = 0
        for block in blocks:
            stream.write(block)
            stream.flush()
            sent += len(block)
        if sent != size:
            raise OSError(f"the file had {size} bytes, and {sent} of them could be read")
    except BaseException:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(stream))  # never freed: pyarrow completes what is closed or freed
        raise
    stream.close()
