"""How a long step tells its caller how far it is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

Advance = Callable[[int], None]
ProgressFactory = Callable[[int], AbstractContextManager[Advance]]
"""Takes the number of rows to do; yields a function that takes the number of rows newly done."""


def silent(_rows: int) -> AbstractContextManager[Advance]:
    """Show no progress."""
    return nullcontext(lambda _rows: None)
