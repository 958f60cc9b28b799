"""The version of each row that was read, kept until the row is written."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class _Page:
    ids: Sequence[str]
    versions: NDArray[np.int64]
    changes: NDArray[np.int64]


@final
class Versions:
    """Versions of rows, a page at a time: pages are written in the order in which they were read."""

    def __init__(self) -> None:
        self._pages: deque[_Page] = deque()

    def clear(self) -> None:
        """Forget all rows."""
        self._pages.clear()

    def add(self, ids: Sequence[str], versions: NDArray[np.int64], changes: NDArray[np.int64]) -> None:
        """Note a page: ``xmin`` of each row, and the number of its last change in the log, int64 (n,) each."""
        self._pages.append(_Page(ids, versions, changes))

    def of(self, ids: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return versions and changes of rows of one page, int64 (n,) each; 0 where nothing was noted."""
        page = self._page(ids)
        if page is None:
            return np.zeros(len(ids), np.int64), np.zeros(len(ids), np.int64)
        if ids == page.ids:
            return page.versions, page.changes
        rows = {text: row for row, text in enumerate(page.ids)}
        chosen = [rows.get(text, -1) for text in ids]
        return np.append(page.versions, 0)[chosen], np.append(page.changes, 0)[chosen]

    def discard(self, ids: Sequence[str]) -> None:
        """Forget rows that are written."""
        page = self._page(ids)
        if page is None:
            return
        written = set(ids)
        rest = [row for row, text in enumerate(page.ids) if text not in written]
        self._pages[0] = _Page([page.ids[row] for row in rest], page.versions[rest], page.changes[rest])

    def _page(self, ids: Sequence[str]) -> _Page | None:
        """Return the page that has the first of the rows, and forget those before it."""
        for place, page in enumerate(tuple(self._pages)):  # another thread adds pages meanwhile
            if ids[0] in page.ids:
                for _ in range(place):
                    self._pages.popleft()
                return page
        return None
