"""Clients that read and write a gallery while `stores.py` migrates it, each in a process of its own."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from store_galleries import GALLERIES, BareGallery

PERIODS = {"reader": 0.0, "writer": 0.01, "open_reader": 0.0}
"""Seconds from the start of one action of a client to that of the next: the writer writes 100 times a second.

What it could not write while it waited, it makes up for."""


@contextmanager
def clients(gallery: BareGallery, *kinds: str) -> Iterator[dict[str, Any]]:
    """Let clients work meanwhile; what each of them had to wait for an answer is there when the block ends.

    Args:
        gallery: The gallery.
        kinds: Names of methods of the gallery: ``reader``, ``writer``, ``open_reader``.
    """
    waits: dict[str, Any] = {}
    processes = {}
    for kind in kinds:
        command = [sys.executable, __file__, gallery.name, str(gallery.folder), kind]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        processes[kind] = process
        next(iter(process.stdout or ()))  # it is at work
    try:
        yield waits
    finally:
        for kind, process in processes.items():
            waits[kind] = json.loads(process.communicate("stop\n")[0])


def work(name: str, folder: str, kind: str) -> None:
    """Do one thing after the other until a line comes in; print how long each took."""
    gallery = GALLERIES[name](Path(folder))
    over = ThreadPoolExecutor(1).submit(sys.stdin.readline)
    waits: list[float] = []
    with getattr(gallery, kind)() as act:
        act()
        print("at work", flush=True)
        begin = time.perf_counter()
        while not over.done():
            start = time.perf_counter()
            act()
            waits.append(time.perf_counter() - start)
            due = begin + PERIODS[kind] * len(waits)
            time.sleep(max(0.0, due - time.perf_counter()))
        rate = len(waits) / (time.perf_counter() - begin)
    figures = {"longest": max(waits), "median": statistics.median(waits), "count": len(waits), "per_second": rate}
    print(json.dumps(figures))


if __name__ == "__main__":
    work(*sys.argv[1:])
