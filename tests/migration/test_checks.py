from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embcompat.aligners import AffineAligner
from embcompat.embeddings import PairSplit, split_pairs
from embcompat.errors import MigrationError
from embcompat.export import save_artifact
from embcompat.migration.checks import check_canary, first_bad_row, outranked_share, relative_error
from embcompat.spaces import Similarity
from embcompat.testing import make_pairs

SIMILARITIES: tuple[Similarity, ...] = ("cosine", "dot", "euclidean")


def naive_share(converted: np.ndarray, native: np.ndarray) -> float:
    shares = []
    for row, vector in enumerate(converted):
        distances = np.linalg.norm(native - vector, axis=1)
        others = np.delete(distances, row)
        shares.append(np.mean((others > distances[row]) + 0.5 * (others == distances[row])))
    return float(np.mean(shares))


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_a_perfect_map_passes_a_shuffled_one_is_chance_and_noise_lies_between(similarity: Similarity) -> None:
    rng = np.random.default_rng(0)
    native = rng.standard_normal((64, 32)).astype(np.float32)
    native /= np.linalg.norm(native, axis=1, keepdims=True)
    shares = [
        outranked_share((native + noise * rng.standard_normal(native.shape)).astype(np.float32), native, similarity)
        for noise in (0.0, 0.3, 1.0, 100.0)
    ]
    assert shares[0] == 1.0
    assert shares == sorted(shares, reverse=True)
    shuffled = outranked_share(native[np.roll(np.arange(64), 1)], native, similarity)
    assert abs(shares[3] - 0.5) < 0.12
    assert abs(shuffled - 0.5) < 0.12


def test_the_share_is_what_a_naive_loop_counts() -> None:
    rng = np.random.default_rng(1)
    converted, native = rng.integers(-2, 3, (2, 20, 3)).astype(np.float32)
    assert outranked_share(converted, native, "euclidean") == pytest.approx(naive_share(converted, native))


def test_a_map_in_the_wrong_direction_is_refused(tmp_path: Path) -> None:
    synthetic = make_pairs(400, source_dim=48, target_dim=48)
    split = split_pairs(synthetic.pairs)
    spaces = {"source": synthetic.pairs.source.space, "target": synthetic.pairs.target.space}
    right = AffineAligner(synthetic.matrix, np.zeros(48))
    wrong = AffineAligner(synthetic.matrix.T, np.zeros(48))  # the inverse: new vectors to old ones
    artifact = save_artifact(right, tmp_path / "artifact", split=split, **spaces)
    result = check_canary(artifact, right.transform)
    assert result is not None
    assert (result.pairs, result.outranked) == (64, 1.0)
    with pytest.raises(MigrationError, match=r"the canary must find its pairs.*wrong direction"):
        check_canary(artifact, wrong.transform)


def test_without_a_canary_nothing_is_claimed(split: PairSplit, tmp_path: Path) -> None:
    source, target = split.train.source.space, split.train.target.space
    aligner = AffineAligner(np.eye(target.dim, source.dim), np.zeros(target.dim))
    artifact = save_artifact(aligner, tmp_path / "bare", source=source, target=target)
    assert check_canary(artifact, aligner.transform) is None


def test_bad_rows_are_found_and_large_numbers_are_not_bad() -> None:
    vectors = np.full((3, 4), 3e38, dtype=np.float32)
    assert first_bad_row(vectors) is None
    vectors[1, 2] = np.nan
    assert first_bad_row(vectors) == 1
    vectors[0, 0] = -np.inf
    assert first_bad_row(vectors) == 0
    assert first_bad_row(np.empty((0, 4), np.float32)) is None


def test_relative_error_of_no_rows_is_zero() -> None:
    assert relative_error(np.empty((0, 2), np.float32), np.empty((0, 2), np.float32)) == 0.0
    assert relative_error(np.zeros((1, 2), np.float32), np.zeros((1, 2), np.float32)) == 0.0
