"""The suite of every gallery store as tests of pytest, for stores in other packages.

    pytest -p embcompat.testing.stores.plugin --pyargs embcompat.testing.stores.suite --store-harness mine:Harness

One test for each check, so that ``-k`` chooses among them and each failure is shown on its own.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

from embcompat.testing.stores.check import StoreBench, StoreCheck, StoreHarness, store_bench
from embcompat.testing.stores.checks import STORE_CHECKS


@pytest.fixture(scope="module")
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> StoreBench:
    """The harness of the command line, with the artifacts that the checks migrate with."""
    folder = tmp_path_factory.mktemp("store")
    return store_bench(harness_class(request.config.getoption("--store-harness", None))(folder), folder)


@pytest.mark.parametrize("check", STORE_CHECKS, ids=lambda check: check.__name__)
def test_store(check: StoreCheck, bench: StoreBench) -> None:
    """Run a check."""
    check(bench)


def harness_class(name: str | None) -> type[StoreHarness]:
    """Return the class that the command line names.

    Raises:
        UsageError: If it names none, or something else.
    """
    module, _, attribute = (name or "").partition(":")
    harness: Any = None
    if module and attribute:
        try:
            harness = getattr(import_module(module), attribute, None)
        except ImportError as error:
            raise pytest.UsageError(f"--store-harness: {module!r} cannot be imported: {error}") from error
    if not (isinstance(harness, type) and issubclass(harness, StoreHarness)):
        raise pytest.UsageError(
            "--store-harness must name a subclass of embcompat.testing.StoreHarness as MODULE:CLASS, after "
            f"-p embcompat.testing.stores.plugin. Got {name!r}."
        )
    return harness
