"""Rows of another space are seen before they are converted."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import lancedb
import numpy as np
import pyarrow as pa
import pytest

from embcompat.aligners import AffineAligner
from embcompat.embeddings import Embeddings, pair_embeddings, split_pairs
from embcompat.errors import MigrationError
from embcompat.export import save_artifact
from embcompat.migration import RunOptions, plan_migration, run_migration
from embcompat.migration.foreign import foreign_rows
from embcompat.runtime import OnnxAligner
from embcompat.spaces import SpaceVersion
from embcompat.stores import open_store

KNOWN = 64


def space(dim: int, seed: int, rows: int = 600, *, decay: float = 1.0) -> np.ndarray:
    """Vectors with a mean and a falling spectrum, in a basis of their own."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    spread = np.arange(1, dim + 1) ** -decay
    return np.asarray((rng.standard_normal((rows, dim)) * spread + spread) @ basis, np.float32)


@pytest.mark.parametrize("dim", [48, 128, 384])
def test_rows_of_another_space_are_found_and_own_ones_are_not(dim: int) -> None:
    known, other = space(dim, 1), space(dim, 2)
    judgement = foreign_rows(known[:KNOWN], np.concatenate([known[KNOWN:], other]))
    assert judgement is not None
    foreign, alarms = judgement
    assert alarms <= 0.05
    assert foreign[: len(known) - KNOWN].mean() <= 0.02
    assert foreign[len(known) - KNOWN :].mean() >= 0.95


def test_length_and_the_orientation_of_the_whole_space_do_not_matter() -> None:
    known, other = space(64, 1), space(64, 2)
    rows = np.concatenate([known[KNOWN:], other])
    rotation = np.linalg.qr(np.random.default_rng(5).standard_normal((64, 64)))[0].astype(np.float32)
    first = foreign_rows(known[:KNOWN], rows)
    second = foreign_rows(known[:KNOWN] * 7 @ rotation, rows * 0.3 @ rotation)
    assert first is not None
    assert second is not None
    assert (first[0] == second[0]).mean() > 0.99


def test_a_space_without_preferred_directions_cannot_be_told() -> None:
    known = np.random.default_rng(0).standard_normal((600, 128)).astype(np.float32)
    assert foreign_rows(known[:KNOWN], known[KNOWN:]) is None


def test_the_share_of_false_alarms_is_that_of_judging_each_by_the_others() -> None:
    known = space(32, 3, rows=24)
    directions = known / np.linalg.norm(known, axis=1, keepdims=True)

    def distance(row: np.ndarray, others: np.ndarray) -> float:
        moment = others.T @ others / len(known) + np.eye(32) / 32
        return float(row @ np.linalg.solve(moment, row)) / 32

    noise = np.random.default_rng(0).standard_normal((1_000, 32))
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    threshold = 0.9 * np.median([distance(row, directions) for row in noise])
    held_out = [distance(directions[row], np.delete(directions, row, axis=0)) for row in range(24)]
    judgement = foreign_rows(known, known)
    assert judgement is not None
    assert judgement[1] == np.mean(np.array(held_out) > threshold)


def test_a_gallery_of_two_models_is_not_converted_unless_that_is_accepted(tmp_path: Path) -> None:
    old, new = (
        SpaceVersion(name="structured", version=version, dim=dim, similarity="cosine")
        for version, dim in (("1", 48), ("2", 16))
    )
    known, other, matrix = space(48, 1), space(48, 2, rows=60), np.eye(16, 48)
    ids = [f"item {row}" for row in range(len(known))]
    converted = (known @ matrix.T).astype(np.float32)
    pairs = pair_embeddings(Embeddings(known, ids, old), Embeddings(converted, ids, new))
    path = tmp_path / "old-to-new"
    aligner = AffineAligner(matrix, np.zeros(16))
    artifact = OnnxAligner(save_artifact(aligner, path, source=old, target=new, split=split_pairs(pairs)), threads=1)
    database = lancedb.connect(tmp_path / "gallery")
    for name, vectors in (("alone", known), ("mixed", np.concatenate([known, other]))):
        numbers = pa.array(range(len(vectors)))
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 48)
        database.create_table(name, pa.table({"id": numbers, "vector": column}))
    address = f"lancedb://{tmp_path / 'gallery'}"
    with closing(open_store(f"{address}#alone.vector?key=id")) as store:
        assert not plan_migration(artifact, store).obstacles
        assert run_migration(artifact, store).rows == len(known)
    with closing(open_store(f"{address}#mixed.vector?key=id")) as store:
        obstacles = plan_migration(artifact, store).obstacles
        assert [obstacle.acceptable for obstacle in obstacles] == [True]
        with pytest.raises(MigrationError, match="sampled rows do not look like vectors of structured@1"):
            run_migration(artifact, store)
        assert run_migration(artifact, store, options=RunOptions(accept_changes=True)).rows == len(known) + len(other)
