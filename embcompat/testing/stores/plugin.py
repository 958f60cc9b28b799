"""The options of the suite in pytest; see `embcompat.testing.stores.suite`."""

from __future__ import annotations

from typing import Any


def pytest_addoption(parser: Any) -> None:
    """Add ``--store-harness``."""
    group = parser.getgroup("embcompat")
    group.addoption(
        "--store-harness", metavar="MODULE:CLASS", help="Harness of the gallery store to check, a StoreHarness."
    )
