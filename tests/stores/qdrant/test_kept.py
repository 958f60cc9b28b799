"""What a migration of a Qdrant collection keeps, and what it refuses."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

import embcompat.stores.qdrant.collection.gallery as gallery_module
from embcompat.aligners import AffineAligner
from embcompat.embeddings import normalize_rows, split_pairs
from embcompat.errors import StoreError
from embcompat.export import save_artifact
from embcompat.migration import cut_over, drop_old, job_of, plan_migration, roll_back, run_migration, sweep
from embcompat.runtime import OnnxAligner
from embcompat.stores import GalleryStore, open_store
from embcompat.testing import make_pairs

DIM = 16
EUCLID = models.VectorParams(size=DIM, distance=models.Distance.EUCLID)


@pytest.fixture(scope="module")
def aligner(tmp_path_factory: pytest.TempPathFactory) -> OnnxAligner:
    synthetic = make_pairs(200, source_dim=DIM, target_dim=DIM, normalized=True)
    artifact = save_artifact(
        AffineAligner(synthetic.matrix, synthetic.offset, normalize=True),
        tmp_path_factory.mktemp("unit") / "artifact",
        source=synthetic.pairs.source.space,
        target=synthetic.pairs.target.space,
        split=split_pairs(synthetic.pairs),
    )
    return OnnxAligner(artifact, threads=1)


class Application:
    """A collection behind the alias ``live``; the folder is open only while one side works."""

    def __init__(self, folder: Path, vectors: Any = EUCLID, **options: Any) -> None:
        self.folder = folder
        self.vectors = normalize_rows(np.random.default_rng(0).standard_normal((30, DIM)).astype(np.float32))
        names = list(vectors) if isinstance(vectors, dict) else None
        points = [
            models.PointStruct(
                id=row,
                vector=vector.tolist() if names is None else {name: vector.tolist() for name in names},
                payload={"note": f"note {row}"},
            )
            for row, vector in enumerate(self.vectors)
        ]

        def create(client: QdrantClient) -> None:
            client.create_collection("docs", vectors, **options)
            client.upsert("docs", points)
            self.alias(client, "live", "docs")

        self.do(create)

    def do(self, action: Callable[[QdrantClient], Any]) -> Any:
        with closing(QdrantClient(path=str(self.folder))) as client:
            return action(client)

    def alias(self, client: QdrantClient, name: str, collection: str) -> None:
        create = models.CreateAlias(collection_name=collection, alias_name=name)
        client.update_collection_aliases([models.CreateAliasOperation(create_alias=create)])

    def opened(self, vector: str = "") -> closing[GalleryStore]:
        return closing(open_store(f"qdrant+local://{self.folder}#live{vector and '.'}{vector}"))

    def first(self, vector: np.ndarray, **options: Any) -> models.ScoredPoint:
        result = self.do(lambda client: client.query_points("live", vector.tolist(), limit=1, **options))
        point: models.ScoredPoint = result.points[0]
        return point

    def firsts(self, vectors: np.ndarray, threshold: float) -> list[Any]:
        requests = [models.QueryRequest(query=row, limit=1, score_threshold=threshold) for row in vectors.tolist()]
        answers = self.do(lambda client: client.query_batch_points("live", requests))
        return [point.id for answer in answers for point in answer.points]

    def config(self) -> models.CollectionConfig:
        config: models.CollectionConfig = self.do(lambda client: client.get_collection("live")).config
        return config


@pytest.mark.parametrize("distance", [models.Distance.EUCLID, models.Distance.DOT, models.Distance.COSINE])
def test_the_metric_is_kept_and_thresholds_keep_their_sense(
    distance: models.Distance, tmp_path: Path, aligner: OnnxAligner
) -> None:
    application = Application(tmp_path, models.VectorParams(size=DIM, distance=distance))
    old, new = application.vectors, aligner.transform(application.vectors)
    threshold = 0.1 if distance == models.Distance.EUCLID else 0.9
    for vectors, step in ((old, None), (old, run_migration), (new, cut_over), (new, drop_old)):
        if step is not None:
            with application.opened() as store:
                step(aligner, store)
        assert application.firsts(vectors, threshold) == list(range(30))
    params = application.config().params.vectors
    assert isinstance(params, models.VectorParams)
    assert params.distance == distance


def test_settings_are_kept(tmp_path: Path, aligner: OnnxAligner) -> None:
    params = models.VectorParams(
        size=DIM,
        distance=models.Distance.DOT,
        on_disk=True,
        hnsw_config=models.HnswConfigDiff(m=24),
        quantization_config=models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(type="int8")),
        datatype=models.Datatype.FLOAT16,
    )
    application = Application(tmp_path, params, on_disk_payload=True)
    with application.opened() as store:
        run_migration(aligner, store)
        cut_over(aligner, store)
    assert application.config().params.vectors == params.model_copy(update={"size": DIM})


def test_both_vectors_of_a_collection_are_migrated_one_after_the_other(tmp_path: Path, aligner: OnnxAligner) -> None:
    application = Application(tmp_path, {"title": EUCLID, "body": EUCLID})
    for vector in ("title", "body"):
        with application.opened(vector) as store:
            assert store.state(job_of(aligner.artifact)).phase == "untouched"
            run_migration(aligner, store)
            cut_over(aligner, store)
            drop_old(aligner, store)
            assert store.state(job_of(aligner.artifact)).phase == "finished"
    with application.opened("title") as store:
        assert store.state(job_of(aligner.artifact)).phase == "finished"
    new = aligner.transform(application.vectors)
    assert application.first(new[3], using="title").id == application.first(new[3], using="body").id == 3


def test_the_old_collection_is_kept_while_another_alias_serves_it(tmp_path: Path, aligner: OnnxAligner) -> None:
    application = Application(tmp_path)
    application.do(lambda client: application.alias(client, "other", "docs"))
    with application.opened() as store:
        run_migration(aligner, store)
        cut_over(aligner, store)
        with pytest.raises(StoreError, match="still served by the alias other"):
            drop_old(aligner, store)
    assert application.do(lambda client: client.count("other")).count == 30


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            models.VectorParams(
                size=DIM,
                distance=models.Distance.COSINE,
                multivector_config=models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM),
            ),
            "It is a multivector",
        ),
        (models.VectorParams(size=DIM, distance=models.Distance.MANHATTAN), "Choose another metric with --metric"),
    ],
)
def test_what_cannot_be_converted_is_refused_in_words(
    params: models.VectorParams, message: str, tmp_path: Path, aligner: OnnxAligner
) -> None:
    with closing(QdrantClient(path=str(tmp_path))) as client:
        client.create_collection("docs", params)
        vector: Any = [[1.0] * DIM] if params.multivector_config else [1.0] * DIM
        client.upsert("docs", [models.PointStruct(id=1, vector=vector)])
        create = models.CreateAlias(collection_name="docs", alias_name="live")
        client.update_collection_aliases([models.CreateAliasOperation(create_alias=create)])
    with closing(open_store(f"qdrant+local://{tmp_path}#live")) as store:
        assert any(message in entry.text for entry in plan_migration(aligner, store).obstacles)
        with pytest.raises(StoreError, match=message):
            run_migration(aligner, store)


def test_points_of_the_window_follow_and_deleted_ones_do_not_come_back(
    tmp_path: Path, aligner: OnnxAligner, monkeypatch: pytest.MonkeyPatch
) -> None:
    application = Application(tmp_path)
    fresh = normalize_rows(np.random.default_rng(3).standard_normal((2, DIM)).astype(np.float32))
    switch = gallery_module.move_alias

    def window(client: QdrantClient, alias: str, collection: str) -> None:
        rows = zip((100, 3), fresh.tolist(), strict=True)
        client.upsert("docs", [models.PointStruct(id=key, vector=row, payload={"n": 1}) for key, row in rows])
        client.delete("docs", models.PointIdsList(points=[4]))
        client.set_payload("docs", {"late": True}, points=[5])
        switch(client, alias, collection)

    with application.opened() as store:
        run_migration(aligner, store)
        with monkeypatch.context() as patch:
            patch.setattr(gallery_module, "move_alias", window)
            cut_over(aligner, store)
        assert list(sweep(aligner, store)) == []
    points = application.do(lambda client: client.scroll("live", limit=100, with_vectors=True))[0]
    actual = {point.id: point for point in points}
    assert sorted(actual) == [key for key in range(30) if key != 4] + [100]
    np.testing.assert_allclose([actual[100].vector, actual[3].vector], aligner.transform(fresh), rtol=1e-4, atol=1e-5)
    assert actual[5].payload["late"]


def test_sweep_finds_late_points_and_leaves_what_the_application_did_since(
    tmp_path: Path, aligner: OnnxAligner
) -> None:
    application = Application(tmp_path)
    with application.opened() as store:
        run_migration(aligner, store)
        cut_over(aligner, store)
    native = {"embcompat": {"space": aligner.artifact.target.id}}

    def change(client: QdrantClient) -> None:
        client.upsert("docs", [models.PointStruct(id=7, vector=[1.0] + [0.0] * (DIM - 1), payload={})])
        client.delete("docs", models.PointIdsList(points=[8]))
        client.delete("live", models.PointIdsList(points=[9]))
        client.upsert("live", [models.PointStruct(id=10, vector=[1.0] + [0.0] * (DIM - 1), payload=native)])
        client.set_payload("live", {"touched": True}, points=[11])

    application.do(change)
    with application.opened() as store:
        assert sorted(sweep(aligner, store)) == ["7", "8"]


def test_texts_come_from_the_payload(tmp_path: Path, aligner: OnnxAligner) -> None:
    application = Application(tmp_path)
    job = replace(job_of(aligner.artifact), text_column="note")
    with application.opened() as store:
        rows = next(store.scan(job, batch_size=100, missing_only=False))
        assert rows.texts == [f"note {identifier}" for identifier in rows.ids]
        assert set(rows.digests().tolist()).isdisjoint(replace(rows, texts=None).digests().tolist())


def test_a_rollback_and_another_cutover_keep_every_point(tmp_path: Path, aligner: OnnxAligner) -> None:
    application = Application(tmp_path)
    with application.opened() as store:
        run_migration(aligner, store)
        for step in itertools.islice(itertools.cycle([cut_over, roll_back]), 3):
            step(aligner, store)
        assert list(sweep(aligner, store)) == []
    assert application.do(lambda client: client.count("live")).count == 30


def test_a_rollback_brings_changes_of_other_vectors_back(tmp_path: Path, aligner: OnnxAligner) -> None:
    application = Application(tmp_path, {"title": EUCLID, "body": EUCLID})
    old, new = (application.vectors[row].tolist() for row in (1, 2))
    with application.opened("title") as store:
        run_migration(aligner, store)
        cut_over(aligner, store)
    changed = models.PointVectors(id=1, vector={"body": new})
    application.do(lambda client: client.update_vectors("live", [changed]))
    application.do(lambda client: client.delete_vectors("live", ["body"], points=[3]))
    with application.opened("title") as store:
        assert roll_back(aligner, store) == 0
    points = application.do(lambda client: client.retrieve("live", [1, 3], with_vectors=True))
    vectors = {point.id: point.vector for point in points}
    assert vectors[1] == {"title": old, "body": new}
    assert list(vectors[3]) == ["title"]
