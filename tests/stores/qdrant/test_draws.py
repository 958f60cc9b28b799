from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from embcompat.errors import InputError
from embcompat.stores import GalleryStore, open_store, sample_gallery

VECTORS = np.random.default_rng(0).standard_normal((60, 6)).astype(np.float32)


@pytest.fixture(params=["", "text"])
def url(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    with closing(QdrantClient(path=str(tmp_path / "q"))) as client:
        params: Any = models.VectorParams(size=6, distance=models.Distance.DOT)
        client.create_collection("docs", {name: params} if name else params)
        points = []
        for row, vector in enumerate(VECTORS.tolist()):
            shape: Any = {name: vector} if name else vector
            payload = {"body": f"text {row}", "lang": "en" if row % 3 else "de", "stars": row % 5}
            points.append(models.PointStruct(id=row, vector=shape, payload=payload))
        client.upsert("docs", points)
    return f"qdrant+local://{tmp_path / 'q'}#docs" + (f".{name}" if name else "") + "?target=vector"


def test_points_are_drawn_by_id(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def scanned(*_: Any, **__: Any) -> None:
        raise AssertionError("the vectors were scanned")

    with closing(open_store(url)) as store:
        monkeypatch.setattr(type(store), "scan", scanned)
        monkeypatch.setattr(GalleryStore, "draw", scanned)
        few = sample_gallery(store, rows=10, space="ada@2", text_column="body", label_column="stars")
        again = sample_gallery(store, rows=10, space="ada@2", text_column="body", label_column="stars")
        every = sample_gallery(store, space="ada@2")
        wide = sample_gallery(store, rows=10, space="ada@2", text_column="body", include=["59", "58", "600"])
    rows = few.ids.astype(int)
    assert (len(few), few.ids.tolist()) == (10, again.ids.tolist())
    np.testing.assert_allclose(few.vectors, VECTORS[rows], rtol=1e-6)
    assert few.texts is not None
    assert few.labels is not None
    assert (few.texts.tolist(), few.labels.tolist()) == ([f"text {r}" for r in rows], [str(r % 5) for r in rows])
    assert sorted(every.ids.astype(int)) == list(range(60))
    assert len(wide) == 12
    assert {"58", "59"} <= set(wide.ids.tolist())


def test_a_condition_is_a_filter_as_json(url: str) -> None:
    condition = '{"must": [{"key": "lang", "match": {"value": "de"}}]}'
    drawn = sample_gallery(url, space="ada@2", where=condition)
    assert sorted(drawn.ids.astype(int)) == list(range(0, 60, 3))
    for text in ("lang = 'de'", '{"must": [{"key": 7}]}', '{"nothing": []}'):
        with pytest.raises(InputError, match=r"takes a filter of Qdrant as JSON, for instance"):
            sample_gallery(url, space="ada@2", where=text)
    with pytest.raises(InputError, match="must hold rows with a vector"):
        sample_gallery(url, space="ada@2", where=condition.replace("de", "fr"))
