"""What a Chroma collection holds besides its vectors, and switches that are interrupted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import chromadb
import numpy as np
import pytest
from chromadb.config import Settings
from chromadb.utils.embedding_functions import DefaultEmbeddingFunction

from embcompat.errors import InputError, StoreError
from embcompat.migration import RunOptions, abort, cut_over, drop_old, job_of, roll_back, run_migration, sweep
from embcompat.runtime import OnnxAligner
from embcompat.stores import open_store, sample_rows
from embcompat.stores.chroma.collections import ChromaCollections
from embcompat.stores.chroma.connection import ChromaDatabase

DIM, ROWS = 24, 12
NEW_DIM = 16
OPTIONS = RunOptions(metric="euclidean")
"""The fixture's vectors are compared by cosine; the collection's metric is to stay."""


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Any]:
    with chromadb.PersistentClient(str(tmp_path), settings=Settings(anonymized_telemetry=False)) as client:
        yield client


def fill(client: Any, *, function: Any = None, dim: int = DIM) -> np.ndarray:
    """Make a collection whose records hold different things; return its vectors."""
    vectors = np.random.default_rng(0).standard_normal((ROWS, dim)).astype(np.float32)
    collection = client.create_collection(
        "docs",
        metadata={"owner": "ada"},
        configuration={"hnsw": {"space": "l2", "ef_search": 77, "max_neighbors": 8}},
        embedding_function=function,
    )
    ids = [f"k{row}" for row in range(ROWS)]
    collection.add(ids=ids[:4], embeddings=vectors[:4])
    collection.add(ids=ids[4:8], embeddings=vectors[4:8], metadatas=[{"n": row, "x": row / 2} for row in range(4)])
    collection.add(ids=ids[8:], embeddings=vectors[8:], documents=list("abcd"), uris=list("efgh"))
    return vectors


def contents(client: Any) -> dict[str, tuple[Any, ...]]:
    """Return everything but the vectors, as an application sees it, without what the migration notes."""
    collection = client.get_collection("docs", embedding_function=None)
    rows = collection.get(include=["documents", "metadatas", "uris"])
    cleaned = [{k: v for k, v in (each or {}).items() if k != "embcompat"} for each in rows["metadatas"]]
    return dict(zip(rows["ids"], zip(rows["documents"], rows["uris"], cleaned, strict=True), strict=True))


def vectors_of(client: Any) -> np.ndarray:
    collection = client.get_collection("docs", embedding_function=None)
    rows = collection.get(ids=[f"k{row}" for row in range(ROWS)], include=["embeddings"])
    known = dict(zip(rows["ids"], rows["embeddings"], strict=True))
    return np.array([known[f"k{row}"] for row in range(ROWS)])


def names(client: Any) -> set[str]:
    return {collection.name for collection in client.list_collections()}


def migrate(aligner: OnnxAligner, url: str, *steps: Any) -> None:
    for step in steps:
        with closing(open_store(url)) as store:
            step(aligner, store, **({"options": OPTIONS} if step in (run_migration, cut_over) else {}))


def test_a_migration_changes_the_vectors_and_nothing_else(client: Any, aligner: OnnxAligner, tmp_path: Path) -> None:
    vectors, url = fill(client), f"chroma://{tmp_path}#docs"
    rows, settings = contents(client), client.get_collection("docs").configuration_json
    migrate(aligner, url, run_migration, cut_over)
    assert contents(client) == rows
    collection = client.get_collection("docs", embedding_function=None)
    assert (collection.configuration_json, collection.metadata) == (settings, {"owner": "ada"})
    np.testing.assert_allclose(vectors_of(client), aligner.transform(vectors), rtol=1e-4, atol=1e-5)
    collection.update(ids=["k5"], metadatas=[{"n": 50, "x": None}])
    collection.delete(ids=["k6"])
    migrate(aligner, url, roll_back)
    assert contents(client) == {key: row for key, row in rows.items() if key != "k6"} | {"k5": (None, None, {"n": 50})}
    migrate(aligner, url, abort)
    assert names(client) == {"docs"}


def interrupt(aligner: OnnxAligner, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill a cutover between the renames."""
    migrate(aligner, url, run_migration)
    call = ChromaDatabase.call

    def dying(self: Any, method: Any, *arguments: Any, **options: Any) -> Any:
        if getattr(method, "__name__", "") == "modify" and options.get("name") == "docs":
            raise KeyboardInterrupt
        return call(self, method, *arguments, **options)

    monkeypatch.setattr(ChromaDatabase, "call", dying)
    with pytest.raises(KeyboardInterrupt):
        migrate(aligner, url, cut_over)
    monkeypatch.undo()


def test_a_switch_that_was_interrupted_is_ended_with_what_came_between(
    client: Any, aligner: OnnxAligner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, url = fill(client), f"chroma://{tmp_path}#docs"
    interrupt(aligner, url, monkeypatch)
    assert "docs" not in names(client)
    fresh = client.get_or_create_collection("docs", embedding_function=None)  # as an application does that misses it
    fresh.add(ids=["late"], embeddings=vectors[:1] * 2, documents=["late"])
    with closing(open_store(url)) as store:
        assert store.state(job_of(aligner.artifact)).phase == "cut_over"
        assert list(sweep(aligner, store)) == ["late"]
        cut_over(aligner, store, options=OPTIONS)
        assert list(sweep(aligner, store)) == []
    np.testing.assert_allclose(vectors_of(client), aligner.transform(vectors), rtol=1e-4, atol=1e-5)
    assert contents(client)["late"] == ("late", None, {})
    late = client.get_collection("docs", embedding_function=None).get(ids=["late"], include=["embeddings"])
    expected = aligner.transform(vectors[:1] * 2)
    np.testing.assert_allclose(late["embeddings"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("deleted", [False, True])
def test_what_a_new_application_writes_between_the_renames_is_in_service(
    deleted: bool, client: Any, aligner: OnnxAligner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, url = fill(client), f"chroma://{tmp_path}#docs"
    interrupt(aligner, url, monkeypatch)
    if deleted:
        client.delete_collection(f"docs__old_{aligner.artifact.id[:12]}")
    fresh = client.get_or_create_collection("docs", embedding_function=None)
    new = [[float(row == place) for place in range(NEW_DIM)] for row in range(2)]
    metadatas = [{"n": 1}, {"embcompat": json.dumps({"space": aligner.artifact.target.id})}]
    fresh.add(ids=["plain", "declared"], embeddings=new, metadatas=metadatas)
    with closing(open_store(url)) as store:
        assert list(sweep(aligner, store)) == ["plain"]
    rows = client.get_collection("docs", embedding_function=None).get(ids=["plain", "declared"], include=["embeddings"])
    np.testing.assert_array_equal(rows["embeddings"], new)
    np.testing.assert_allclose(vectors_of(client), aligner.transform(vectors), rtol=1e-4, atol=1e-5)
    assert not [name for name in names(client) if "stray" in name]


def test_what_fits_neither_collection_stays_and_is_named(
    client: Any, aligner: OnnxAligner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, url = fill(client), f"chroma://{tmp_path}#docs"
    interrupt(aligner, url, monkeypatch)
    fresh = client.get_or_create_collection("docs", embedding_function=None)
    fresh.add(ids=["odd"], embeddings=[[1.0, 2.0, 3.0]], documents=["odd"])
    with pytest.raises(StoreError, match=r"switched the collections.* 1 of its records are in 'docs__stray_.* delete"):
        open_store(url)
    (stray,) = [name for name in names(client) if "stray" in name]
    rows = client.get_collection(stray, embedding_function=None).get(include=["embeddings", "documents"])
    assert (rows["ids"], rows["documents"], rows["embeddings"].tolist()) == (["odd"], ["odd"], [[1.0, 2.0, 3.0]])
    migrate(aligner, url, cut_over)
    np.testing.assert_allclose(vectors_of(client), aligner.transform(vectors), rtol=1e-4, atol=1e-5)


def test_an_empty_collection_between_the_renames_is_deleted(
    client: Any, aligner: OnnxAligner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, url = fill(client), f"chroma://{tmp_path}#docs"
    interrupt(aligner, url, monkeypatch)
    client.get_or_create_collection("docs", embedding_function=None)
    migrate(aligner, url, cut_over)
    np.testing.assert_allclose(vectors_of(client), aligner.transform(vectors), rtol=1e-4, atol=1e-5)
    assert names(client) == {"docs", f"docs__old_{aligner.artifact.id[:12]}", "embcompat-memos"}


def test_a_rollback_that_is_killed_keeps_the_old_vector_of_a_record_that_lost_its_document(
    client: Any, aligner: OnnxAligner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, url = fill(client), f"chroma://{tmp_path}#docs"
    migrate(aligner, url, run_migration, cut_over)
    collection = client.get_collection("docs", embedding_function=None)
    row = collection.get(ids=["k9"], include=["embeddings", "metadatas", "uris"])
    collection.delete(ids=["k9"])
    collection.add(ids=["k9"], embeddings=row["embeddings"], metadatas=row["metadatas"], uris=row["uris"])
    kills = 0
    call = ChromaDatabase.call
    for point in range(1, 100):
        requests = 0

        def dying(self: Any, method: Any, *arguments: Any, **options: Any) -> Any:
            nonlocal requests
            if getattr(method, "__name__", "") in ("upsert", "delete", "delete_collection", "get_or_create_collection"):
                requests += 1
                if requests == point:  # noqa: B023 - called in this turn of the loop
                    raise KeyboardInterrupt
            return call(self, method, *arguments, **options)

        with closing(open_store(url)) as store:
            if store.state(job_of(aligner.artifact)).phase == "prepared":
                break
            monkeypatch.setattr(ChromaDatabase, "call", dying)
            try:
                roll_back(aligner, store)
            except KeyboardInterrupt:
                kills += 1
            monkeypatch.undo()
    assert kills >= 4
    np.testing.assert_array_equal(vectors_of(client), vectors)
    assert contents(client)["k9"] == (None, "f", {})
    assert not [name for name in names(client) if "rewriting" in name]


def test_a_native_write_leaves_what_an_application_changes_meanwhile(
    client: Any, aligner: OnnxAligner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(client)
    job, write = job_of(aligner.artifact), ChromaCollections.write_vectors

    def late(self: Any, *arguments: Any) -> None:
        collection = client.get_collection("docs", embedding_function=None)
        vectors = collection.get(ids=["k9"], include=["embeddings"])["embeddings"]
        collection.update(ids=["k9"], embeddings=vectors, documents=["edited"], metadatas=[{"n": 7}])
        collection.delete(ids=["k1"])
        write(self, *arguments)

    with closing(open_store(f"chroma://{tmp_path}#docs")) as store:
        run_migration(aligner, store, options=OPTIONS)
        cut_over(aligner, store, options=OPTIONS)
        monkeypatch.setattr(ChromaCollections, "write_vectors", late)
        store.write_native(job, ["k1", "k9"], np.ones((2, NEW_DIM), np.float32))
        assert store.read_target(job, ["k1", "k9"]).native.tolist() == [True]
    assert contents(client)["k9"] == ("edited", "f", {"n": 7})


def test_a_kill_before_the_target_is_noted_is_made_good_by_the_next_run(
    client: Any, aligner: OnnxAligner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, url = fill(client), f"chroma://{tmp_path}#docs"

    def dying(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ChromaCollections, "set_memo", dying)
    with pytest.raises(KeyboardInterrupt):
        migrate(aligner, url, run_migration)
    monkeypatch.undo()
    migrate(aligner, url, run_migration, cut_over)
    with closing(open_store(url)) as store:
        state = store.state(job_of(aligner.artifact))
    assert (state.phase, state.space) == ("cut_over", aligner.artifact.target)
    np.testing.assert_allclose(vectors_of(client), aligner.transform(vectors), rtol=1e-4, atol=1e-5)


def test_a_rollback_keeps_what_a_client_wrote_to_the_old_collection(
    client: Any, aligner: OnnxAligner, tmp_path: Path
) -> None:
    vectors, url = fill(client), f"chroma://{tmp_path}#docs"
    stale = client.get_collection("docs", embedding_function=None)
    migrate(aligner, url, run_migration, cut_over)
    stale.add(ids=["late"], embeddings=vectors[:1] * 2, documents=["late"])
    stale.update(ids=["k9"], embeddings=vectors[9:10], documents=["edited"])
    migrate(aligner, url, roll_back)
    rows = contents(client)
    assert (rows["late"][0], rows["k9"][0]) == ("late", "edited")
    np.testing.assert_array_equal(vectors_of(client), vectors)


def test_a_cutover_whose_other_name_is_taken_changes_nothing(client: Any, aligner: OnnxAligner, tmp_path: Path) -> None:
    vectors, url = fill(client), f"chroma://{tmp_path}#docs"
    migrate(aligner, url, run_migration)
    client.create_collection(f"docs__old_{aligner.artifact.id[:12]}")
    with pytest.raises(StoreError, match="there is a collection 'docs__old_.*' already"):
        migrate(aligner, url, cut_over)
    np.testing.assert_array_equal(vectors_of(client), vectors)
    with closing(open_store(url)) as store:
        assert store.state(job_of(aligner.artifact)).phase == "prepared"
    client.delete_collection(f"docs__old_{aligner.artifact.id[:12]}")
    migrate(aligner, url, cut_over)
    np.testing.assert_allclose(vectors_of(client), aligner.transform(vectors), rtol=1e-4, atol=1e-5)


def test_native_vectors_are_declared_in_the_metadata(client: Any, aligner: OnnxAligner, tmp_path: Path) -> None:
    url = f"chroma://{tmp_path}#docs"
    fill(client)
    migrate(aligner, url, run_migration, cut_over)
    collection = client.get_collection("docs", embedding_function=None)
    unit = [1.0] + [0.0] * (aligner.artifact.target.dim - 1)
    declared = {"embcompat": json.dumps({"space": aligner.artifact.target.id})}
    collection.upsert(ids=["k1", "k2", "new"], embeddings=[unit] * 3, metadatas=[declared, {"n": 1}, {"n": 2}])
    with closing(open_store(url)) as store:
        assert sorted(sweep(aligner, store)) == ["k2", "new"]
        drop_old(aligner, store)
    assert names(client) == {"docs", "embcompat-memos"}


def test_an_embedding_function_of_the_old_model_needs_a_word(client: Any, aligner: OnnxAligner, tmp_path: Path) -> None:
    fill(client, function=DefaultEmbeddingFunction(), dim=384)
    with closing(open_store(f"chroma://{tmp_path}#docs")) as store:
        job = job_of(aligner.artifact)
        assert next(("'default'" in entry.text, entry.acceptable) for entry in store.obstacles(job)) == (True, True)
        store._prepare(job)
    target = client.get_collection(f"docs__{job.suffix}")
    assert target.configuration_json["embedding_function"]["name"] == "default"


def test_a_sample_takes_filters_documents_and_metadata(client: Any, tmp_path: Path) -> None:
    fill(client)
    url = f"chroma://{tmp_path}#docs"
    rows = sample_rows(url, text_column="document", label_column="n", where='{"n": {"$gt": 1}}')
    assert sorted(zip(rows.ids, rows.texts or (), rows.labels or (), strict=True)) == [("k6", "", "2"), ("k7", "", "3")]
    for where, message in (("n > 1", "takes a filter of Chroma as JSON"), ('{"$no": 1}', "does not understand")):
        with pytest.raises(InputError, match=message):
            sample_rows(url, where=where)


def test_addresses_that_lead_nowhere(client: Any, tmp_path: Path) -> None:
    fill(client)
    for address, message in (
        (f"chroma://{tmp_path}", "has the form chroma:///folder#collection"),
        (f"chroma://{tmp_path}#none", "there is no collection 'none'. Collections: docs"),
        ("chroma:///nowhere#docs", "there is no Chroma folder"),
        (f"chroma://{tmp_path}#docs?key=id", "takes only database and tenant"),
    ):
        with pytest.raises(InputError, match=message):
            open_store(address)
    with pytest.raises(StoreError, match="the server cannot be reached"):
        open_store("chroma+http://127.0.0.1:9#docs")
