"""Commits to a Lance table beside other writers."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from embcompat.errors import StoreError

_ATTEMPTS: Final = 30
"""Times that a commit is tried while other writers come in between [ours]."""

_LONGEST_PAUSE_SECONDS: Final = 0.2

_Result = TypeVar("_Result")


def is_conflict(error: Exception) -> bool:
    """Return whether a commit failed only because another writer was faster."""
    return "conflict" in str(error).lower()


def commit(open_table: Callable[[], Any], change: Callable[[Any], _Result], *, where: str) -> _Result:
    """Change the newest version of a table; try again when another writer's commit comes in between.

    Args:
        open_table: Opens the newest version.
        change: Makes one commit; it is called again on a newer version, so it must look at what is there.
        where: Where the table is, for the error.

    Returns:
        What ``change`` returned.

    Raises:
        StoreError: If the commit is refused, or other writers are faster every time.
    """
    attempts = _ATTEMPTS
    while True:
        try:
            return change(open_table())
        except (OSError, RuntimeError, ValueError) as error:
            attempts -= 1
            if not attempts or not is_conflict(error):
                raise StoreError(f"{where}: the change was refused: {error}") from error
        time.sleep(random.uniform(0, _LONGEST_PAUSE_SECONDS))
