from __future__ import annotations

from pathlib import Path

import lancedb
import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from embcompat.cli import app
from embcompat.embeddings import Embeddings
from embcompat.errors import InputError, StoreError
from embcompat.stores import sample_gallery

VECTORS = np.random.default_rng(0).standard_normal((400, 6)).astype(np.float32)


@pytest.fixture
def url(tmp_path: Path) -> str:
    table = pa.table(
        {
            "id": np.arange(400) * 3,
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(VECTORS.reshape(-1)), 6),
            "body": [f"text {row}" for row in range(400)],
            "kind": np.arange(400) % 4,
        }
    )
    lancedb.connect(str(tmp_path / "lance")).create_table("docs", table)
    return f"lancedb://{tmp_path / 'lance'}#docs.vector"


def test_a_sample_of_a_gallery_in_use(url: str, tmp_path: Path) -> None:
    (tmp_path / "qrels.tsv").write_text("q1 0 3 1\nq1 0 6 1\n")
    words = ["sample", url, "--rows", "390", "--text-column", "body", "--label-column", "kind", "--space", "ada@2"]
    words += ["--keep-out", str(tmp_path / "qrels.tsv"), "--out", str(tmp_path / "old.parquet")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.exception
    drawn = Embeddings.load(tmp_path / "old.parquet")
    assert (len(drawn), drawn.space.id) == (390, "ada@2")
    assert not {"3", "6"} & set(drawn.ids.tolist())
    rows = np.array([int(identifier) // 3 for identifier in drawn.ids])
    np.testing.assert_array_equal(drawn.vectors, VECTORS[rows])
    assert drawn.texts is not None
    assert drawn.labels is not None
    assert drawn.texts.tolist() == [f"text {row}" for row in rows]
    assert drawn.labels.tolist() == [str(row % 4) for row in rows]
    again = CliRunner().invoke(app, words)
    assert "exists already" in str(again.exception)


def test_a_sample_is_repeatable_and_uniform(url: str) -> None:
    draws = [sample_gallery(url, rows=40, space="ada@2", seed=seed) for seed in range(30)]
    assert draws[0].ids.tolist() == sample_gallery(url, rows=40, space="ada@2", seed=0).ids.tolist()
    counts = np.bincount([int(identifier) // 3 for draw in draws for identifier in draw.ids], minlength=400)
    assert counts.sum() == 1_200
    assert counts[:200].sum() == pytest.approx(600, abs=90)  # five standard deviations


def test_a_scanned_store_draws_alike(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", VECTORS)
    drawn = sample_gallery(str(tmp_path / "x.npy"), rows=50, space="ada@2")
    assert len(set(drawn.ids.tolist())) == 50
    np.testing.assert_array_equal(drawn.vectors, VECTORS[drawn.ids.astype(int)])
    with pytest.raises(StoreError, match="Got 'kind'"):
        sample_gallery(str(tmp_path / "x.npy"), rows=50, space="ada@2", label_column="kind")
    with pytest.raises(InputError, match="does not name its space"):
        sample_gallery(str(tmp_path / "x.npy"), rows=50)


def test_a_condition_chooses_among_the_rows(url: str, tmp_path: Path) -> None:
    words = ["sample", url, "--where", "kind = 2 AND body != 'text 2'", "--space", "ada@2"]
    result = CliRunner().invoke(app, [*words, "--text-column", "body", "--out", str(tmp_path / "old.parquet")])
    assert result.exit_code == 0, result.exception
    drawn = Embeddings.load(tmp_path / "old.parquet")
    rows = np.sort(drawn.ids.astype(int) // 3)
    np.testing.assert_array_equal(rows, np.arange(6, 400, 4))
    np.testing.assert_array_equal(drawn.vectors, VECTORS[drawn.ids.astype(int) // 3])
    few = sample_gallery(url, rows=10, space="ada@2", where="kind = 2")
    assert few.ids.tolist() == sample_gallery(url, rows=10, space="ada@2", where="kind = 2").ids.tolist()
    with pytest.raises(InputError, match="cannot evaluate the condition 'nothing = 2'"):
        sample_gallery(url, rows=10, space="ada@2", where="nothing = 2")
    np.save(tmp_path / "x.npy", VECTORS)
    with pytest.raises(StoreError, match=r"cannot sample by a condition \(where=…\). Got 'kind = 2'"):
        sample_gallery(str(tmp_path / "x.npy"), rows=10, space="ada@2", where="kind = 2")


def test_a_sample_includes_what_answers_queries(url: str, tmp_path: Path) -> None:
    (tmp_path / "qrels.tsv").write_text("q1 0 3 1\nq1 0 6 1\nq2 0 600 1\nq2 0 9999 1\nq2 0 9 0\n")
    words = ["sample", url, "--rows", "20", "--text-column", "body", "--space", "ada@2"]
    words += ["--include", str(tmp_path / "qrels.tsv"), "--out", str(tmp_path / "old.parquet")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.exception
    drawn = Embeddings.load(tmp_path / "old.parquet")
    assert len(drawn) == 23
    assert {"3", "6", "600"} <= set(drawn.ids.tolist())
    rows = drawn.ids.astype(int) // 3
    np.testing.assert_array_equal(drawn.vectors, VECTORS[rows])
    assert drawn.texts is not None
    assert drawn.texts.tolist() == [f"text {row}" for row in rows]
    np.save(tmp_path / "x.npy", VECTORS)
    scanned = sample_gallery(str(tmp_path / "x.npy"), rows=20, space="ada@2", include=["7", "399"])
    assert len(scanned) == 22
    assert {"7", "399"} <= set(scanned.ids.tolist())
    np.testing.assert_array_equal(scanned.vectors, VECTORS[scanned.ids.astype(int)])
