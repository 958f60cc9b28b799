from __future__ import annotations

import threading
from pathlib import Path

import pytest

from embcompat.errors import RegistryError
from embcompat.registry import Registry
from embcompat.registry.events import EventLog
from embcompat.spaces import SpaceVersion


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    registry = Registry(tmp_path / "team", create=True)
    for version in ("1", "2"):
        registry.add_space(SpaceVersion(name="alpha", version=version, dim=4))
    return registry


def late(registry: Registry) -> EventLog:
    """Return the log as a writer sees it whose checks are behind it."""
    return EventLog(registry._storage)


def test_a_promotion_that_lost_to_a_retirement_changes_nothing(registry: Registry) -> None:
    registry.promote("production", "alpha@1")
    registry.retire("alpha@2")
    with pytest.raises(RegistryError, match="alpha@2 was retired before it was promoted to production: another writer"):
        late(registry).append("promote", "alpha@2", label="production")
    standing = registry.standing()
    assert standing.labels == {"production": "alpha@1"}
    assert standing.retired == {"alpha@2"}
    assert list(standing.void) == [3]
    assert not registry.verify()


def test_a_retirement_that_lost_to_a_promotion_changes_nothing(registry: Registry) -> None:
    registry.promote("production", "alpha@2")
    with pytest.raises(RegistryError, match="alpha@2 was promoted to production before it was retired"):
        late(registry).append("retire", "alpha@2")
    assert registry.standing().retired == frozenset()
    registry.promote("production", "alpha@1")
    assert registry.retire("alpha@2") == "alpha@2"
    assert registry.standing().retired == {"alpha@2"}


def test_no_race_leaves_a_retired_space_in_production(registry: Registry) -> None:
    for number in range(10):
        space = SpaceVersion(name="race", version=str(number), dim=4)
        registry.add_space(space)
        writers = [Registry(registry.url) for _ in range(2)]
        start, refused = threading.Barrier(2), []

        def act(index: int, writers=writers, start=start, refused=refused, name=space.id) -> None:
            start.wait()
            try:
                writers[0].promote("production", name) if index == 0 else writers[1].retire(name)
            except RegistryError:
                refused.append(index)

        threads = [threading.Thread(target=act, args=(index,)) for index in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        standing = registry.standing()
        assert len(refused) == 1
        assert (standing.labels.get("production") == space.id) != (space.id in standing.retired)
