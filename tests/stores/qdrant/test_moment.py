"""What an application does to a Qdrant collection in the moment of a switch or a rollback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from embcompat.embeddings import normalize_rows
from embcompat.migration import abort, cut_over, roll_back, run_migration, sweep
from embcompat.runtime import OnnxAligner
from embcompat.stores import GalleryStore, open_store
from embcompat.stores.qdrant.collection import gallery
from tests.stores.qdrant.test_collections import DIM, make_aligner

ROWS = 9


@pytest.fixture(scope="module")
def aligner(tmp_path_factory: pytest.TempPathFactory) -> OnnxAligner:
    return make_aligner(tmp_path_factory.mktemp("artifact") / "unit", normalized=True)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[GalleryStore]:
    """A gallery in a folder, which one client alone may open."""
    with closing(QdrantClient(path=str(tmp_path))) as client:
        fill(client)
    with closing(open_store(f"qdrant+local://{tmp_path}#live")) as store:
        yield store


@pytest.fixture
def client(store: GalleryStore) -> Any:
    """The client of the gallery, as an application uses it."""
    return store._client  # type: ignore[attr-defined]


def put(client: Any, collection: str, key: int, note: str, dim: int = DIM) -> None:
    vector = normalize_rows(np.random.default_rng(key).standard_normal((1, dim)).astype(np.float32))[0]
    client.upsert(collection, [models.PointStruct(id=key, vector=vector.tolist(), payload={"note": note})])


def change(client: Any, key: int, note: str) -> None:
    client.set_payload("live", {"note": note}, points=[key])


def delete(client: Any, *keys: int) -> None:
    client.delete("live", models.PointIdsList(points=list(keys)))


def fill(client: Any) -> None:
    client.create_collection("docs", vectors_config=models.VectorParams(size=DIM, distance=models.Distance.COSINE))
    for key in range(ROWS):
        put(client, "docs", key, f"note {key}")
    create = models.CreateAlias(collection_name="docs", alias_name="live")
    client.update_collection_aliases([models.CreateAliasOperation(create_alias=create)])


def notes(client: Any) -> dict[Any, str]:
    points, _ = client.scroll("live", limit=99)
    return {point.id: (point.payload or {})["note"] for point in points}


def lengths(client: Any) -> set[int]:
    points, _ = client.scroll("live", limit=99, with_vectors=True)
    return {len(point.vector) for point in points}  # type: ignore[arg-type]


def in_the_moment(monkeypatch: pytest.MonkeyPatch, before: Callable[[], object], after: Callable[[], object]) -> None:
    """Do something right before and right after the next move of the alias."""
    move = gallery.move_alias

    def moved(*arguments: Any) -> None:
        before()
        move(*arguments)
        monkeypatch.setattr(gallery, "move_alias", move)
        after()

    monkeypatch.setattr(gallery, "move_alias", moved)


@pytest.mark.parametrize("killed", [False, True])
def test_points_of_the_moment_of_a_switch(
    killed: bool, store: GalleryStore, client: Any, aligner: OnnxAligner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def before() -> None:
        delete(client, 1)
        put(client, "live", 20, "late")

    def after() -> None:
        delete(client, 2)
        if killed:
            raise KeyboardInterrupt

    run_migration(aligner, store)
    in_the_moment(monkeypatch, before, after)
    if killed:
        with pytest.raises(KeyboardInterrupt):
            cut_over(aligner, store)
    cut_over(aligner, store)
    expected = {key: f"note {key}" for key in range(ROWS) if key not in (1, 2)} | {20: "late"}
    assert notes(client) == expected
    assert lengths(client) == {aligner.artifact.target.dim}
    assert list(sweep(aligner, store)) == []
    roll_back(aligner, store)
    assert notes(client) == expected
    abort(aligner, store)
    assert [collection.name for collection in client.get_collections().collections] == ["docs"]


def test_points_of_the_moment_of_a_rollback(
    store: GalleryStore, client: Any, aligner: OnnxAligner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def before() -> None:
        delete(client, 1)
        change(client, 2, "moment")
        change(client, 3, "moment")
        put(client, "live", 30, "new", aligner.artifact.target.dim)

    def after() -> None:
        change(client, 3, "after")
        delete(client, 5)
        put(client, "live", 6, "again")

    run_migration(aligner, store)
    cut_over(aligner, store)
    delete(client, 6)
    change(client, 4, "before")
    in_the_moment(monkeypatch, before, after)
    assert roll_back(aligner, store) == 1
    changed = {2: "moment", 3: "after", 4: "before", 6: "again", 30: "new"}
    assert notes(client) == {key: f"note {key}" for key in range(ROWS) if key not in (1, 5)} | changed


def test_points_written_to_the_old_collection_by_its_own_name_survive_a_rollback(
    store: GalleryStore, client: Any, aligner: OnnxAligner
) -> None:
    run_migration(aligner, store)
    cut_over(aligner, store)
    put(client, "docs", 40, "by its own name")
    put(client, "docs", 3, "by its own name")
    for collection, dim in (("docs", DIM), ("live", aligner.artifact.target.dim)):  # written to both
        put(client, collection, 4, "both", dim)
    put(client, "live", 5, "replaced", aligner.artifact.target.dim)
    delete(client, 6)
    assert sorted(key for key in sweep(aligner, store) if key != "5") == ["3", "4", "40"]
    vectors = {point.id: point.vector for point in client.scroll("docs", limit=99, with_vectors=True)[0]}
    assert roll_back(aligner, store) == 1  # 5, whose old vector is of what it was
    after = {point.id: point.vector for point in client.scroll("docs", limit=99, with_vectors=True)[0]}
    assert {key: after[key] for key in (3, 4, 40)} == {key: vectors[key] for key in (3, 4, 40)}
    changed = {3: "by its own name", 4: "both", 5: "replaced", 40: "by its own name"}
    assert notes(client) == {key: f"note {key}" for key in range(ROWS) if key != 6} | changed
    assert [collection.name for collection in client.get_collections().collections if "__ids" in collection.name] == []
