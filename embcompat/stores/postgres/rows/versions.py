"""The version of each row that was read, kept until the row is written."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray


@final
class Versions:
    """Versions of rows, a page at a time: pages are written in the order in which they were read."""

    def __init__(self) -> None:
        self._pages: deque[dict[str, tuple[int, int]]] = deque()

    def clear(self) -> None:
        """Forget all rows."""
        self._pages.clear()

    def add(self, ids: Sequence[str], versions: Sequence[int], changes: Sequence[int]) -> None:
        """Note a page: ``xmin`` of each row, and the number of its last change in the log."""
        self._pages.append(dict(zip(ids, zip(versions, changes, strict=True), strict=True)))

    def of(self, ids: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return versions and changes of rows of one page, int64 (n,) each; 0 where nothing was noted."""
        page = self._page(ids)
        versions, changes = np.array([page.get(text, (0, 0)) for text in ids], dtype=np.int64).T
        return versions, changes

    def discard(self, ids: Sequence[str]) -> None:
        """Forget rows that are written."""
        page = self._page(ids)
        for text in ids:
            page.pop(text, None)

    def _page(self, ids: Sequence[str]) -> dict[str, tuple[int, int]]:
        for place, page in enumerate(self._pages):
            if ids[0] in page:
                for _ in range(place):
                    self._pages.popleft()
                return page
        return {}
