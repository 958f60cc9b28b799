"""A canary of blends: it does what a canary of people does, and shows nobody."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embcompat.aligners import fit_kernel
from embcompat.embeddings import PairSplit, normalize_rows, split_pairs
from embcompat.errors import InputError, MigrationError
from embcompat.export import blend_people, save_artifact
from embcompat.migration.checks import check_canary
from embcompat.runtime import OnnxAligner
from embcompat.testing import make_pairs


@pytest.fixture(scope="module")
def faces() -> PairSplit:
    pairs = make_pairs(1_200, source_dim=24, target_dim=20, noise=0.3, subjects=400, normalized=True).pairs
    return split_pairs(pairs, test=0.5)


def test_blends_pass_where_the_map_is_right_and_fail_where_it_is_not(faces: PairSplit, tmp_path: Path) -> None:
    spaces = {"source": faces.train.source.space, "target": faces.train.target.space}
    right = fit_kernel(faces.train, faces.validation)
    save_artifact(right, tmp_path / "right", split=faces, canary="blended", **spaces)
    aligner = OnnxAligner(tmp_path / "right", threads=1)
    result = check_canary(aligner.artifact, aligner.transform_canary)
    assert result is not None
    assert result.pairs == 64
    assert result.outranked > 0.95
    with pytest.raises(MigrationError, match="the canary must find its pairs"):
        check_canary(aligner.artifact, lambda vectors: np.roll(right.transform(vectors), 1, axis=0))


def test_no_blend_is_near_anybody(faces: PairSplit) -> None:
    held_out = faces.test
    source, target = blend_people(held_out, seed=0)
    for blends, side in ((source, held_out.source), (target, held_out.target)):
        assert blends.shape == (64, side.space.dim)
        assert np.allclose(np.linalg.norm(blends, axis=1), 1, atol=1e-6)
        labels = side.labels
        strangers = side.vectors @ side.vectors.T
        strangers[labels[:, np.newaxis] == labels] = -1
        nearest = (normalize_rows(blends) @ side.vectors.T).max(axis=1)
        # No nearer to the person it resembles most than people are to the stranger whom they resemble most.
        assert np.median(nearest) < np.median(strangers.max(axis=1)) + 0.05


def test_blends_spread_as_vectors_do() -> None:
    pairs = make_pairs(2_000, source_dim=6, target_dim=6, similarity="euclidean").pairs
    blends = np.concatenate([blend_people(pairs, seed=seed)[0] for seed in range(40)])
    assert np.allclose(blends.mean(axis=0), pairs.source.vectors.mean(axis=0), atol=0.1)
    assert np.allclose(np.cov(blends.T), np.cov(pairs.source.vectors.T), atol=0.25)


def test_the_people_of_a_blend_are_drawn_anew_each_time(faces: PairSplit) -> None:
    assert not np.allclose(blend_people(faces.test)[0], blend_people(faces.test)[0])
    assert np.array_equal(blend_people(faces.test, seed=1)[1], blend_people(faces.test, seed=1)[1])


def test_too_few_people_are_not_blended(faces: PairSplit, tmp_path: Path) -> None:
    few = faces.test.select(np.isin(faces.test.labels, np.unique(faces.test.labels)[:99]))
    with pytest.raises(InputError, match="at least 100 held-out people. Got 99"):
        blend_people(few)
