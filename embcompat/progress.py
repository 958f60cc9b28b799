"""How a long step tells its caller how far it is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

Advance = Callable[[int], None]
ProgressFactory = Callable[[int], AbstractContextManager[Advance]]
"""Takes how much there is to do; yields a function that takes how much is newly done."""


def silent(_total: int) -> AbstractContextManager[Advance]:
    """Show no progress."""
    return nullcontext(lambda _count: None)
