from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from embcompat.aligners import AffineAligner, AlignerPair
from embcompat.aligners.shared import shared_space
from embcompat.embeddings import PairSplit, split_pairs
from embcompat.errors import InputError, UnknownNameError
from embcompat.testing import make_pairs
from embcompat.training import fit_bidirectional


def fit(split: PairSplit, **options) -> AlignerPair:
    settings = {"epochs": 15, "batch_size": 64, "device": "cpu", "learning_rate": 2e-2, **options}
    return fit_bidirectional(split.train, split.validation, **settings)


def excess(pair: AlignerPair) -> float:
    weight = pair.backward_map.state()["weight"].astype(np.float64)
    return float(np.linalg.norm(weight @ weight.T - np.eye(len(weight))))


@pytest.fixture(scope="module")
def stretched() -> PairSplit:
    """Pairs whose best backward map is far from orthogonal: the old space is the new one, stretched."""
    return split_pairs(make_pairs(300, source_dim=6, target_dim=6, how="affine", noise=0.05).pairs)


def test_recovers_a_rotation_both_ways(split: PairSplit) -> None:
    same_dims = split_pairs(make_pairs(300, source_dim=6, target_dim=6, noise=0.001).pairs)
    for backward in ("affine", "orthogonal"):
        pair = fit(same_dims, backward=backward)
        old, new = same_dims.test.source.vectors, same_dims.test.target.vectors
        scale = np.linalg.norm(old, axis=1).mean()
        back, forth = pair.backward_map.transform(new), pair.forward_map.transform(old)
        assert np.linalg.norm(back - old, axis=1).mean() < 0.05 * scale
        assert np.linalg.norm(forth - back, axis=1).mean() < 0.05 * scale


def test_strict_keeps_every_distance_among_new_vectors(stretched: PairSplit) -> None:
    pair = fit(stretched, backward="orthogonal")
    new = stretched.test.target.vectors
    mapped = pair.backward_map.transform(new)
    np.testing.assert_allclose(mapped @ mapped.T, new @ new.T, rtol=1e-4, atol=1e-4)
    assert not pair.backward_map.state()["bias"].any()


def test_lambda_decides_how_far_from_orthogonal_the_map_goes(stretched: PairSplit) -> None:
    light = (0.05, 0.05, 0.05)
    by_lam = {lam: excess(fit(stretched, lam=lam, loss_weights=light, epochs=25)) for lam in (0.0, 0.5, math.inf)}
    assert by_lam[0.0] < 0.1 < by_lam[0.5] < 0.6 < by_lam[math.inf]


def test_a_looser_map_comes_nearer_to_the_old_space(stretched: PairSplit) -> None:
    def miss(lam: float) -> float:
        back = fit(stretched, lam=lam, epochs=25).backward_map.transform(stretched.test.target.vectors)
        return float(np.linalg.norm(back - stretched.test.source.vectors, axis=1).mean())

    assert miss(math.inf) < miss(0.0)


@pytest.mark.parametrize(("old_dim", "new_dim"), [(4, 7), (7, 4)])
def test_other_dimensions_end_in_the_new_one(old_dim: int, new_dim: int) -> None:
    split = split_pairs(make_pairs(200, source_dim=old_dim, target_dim=new_dim, subjects=40).pairs)
    pair = fit(split, epochs=3)
    assert (pair.forward_map.source_dim, pair.forward_map.target_dim) == (old_dim, new_dim)
    assert (pair.backward_map.source_dim, pair.backward_map.target_dim) == (new_dim, new_dim)


def test_labels_change_the_fit_unless_they_are_left_out() -> None:
    labelled = split_pairs(make_pairs(300, source_dim=5, target_dim=5, subjects=30).pairs)
    with_labels, without = (fit(labelled, labels=labels, epochs=3) for labels in (True, False))
    assert not np.allclose(with_labels.forward_map.state()["weight"], without.forward_map.state()["weight"])


def test_the_maps_are_plain_affine_aligners_in_a_space_of_their_own(split: PairSplit) -> None:
    normalized = split_pairs(make_pairs(200, source_dim=8, target_dim=8, normalized=True).pairs)
    old, new = normalized.train.source.space, normalized.train.target.space
    pairs = [fit(normalized, epochs=2, seed=seed) for seed in (0, 0, 1)]
    for aligner in (pairs[0].forward_map, pairs[0].backward_map):
        assert isinstance(aligner, AffineAligner)
        assert aligner.normalize
    spaces = [shared_space(old, new, pair, method="bidirectional") for pair in pairs]
    assert spaces[0] == spaces[1] != spaces[2]
    assert spaces[0].id.startswith("made-new@1+bidirectional.")
    assert new.differences(spaces[0])


def test_resumes(split: PairSplit, tmp_path: Path) -> None:
    first = fit(split, epochs=4)
    fit(split, epochs=2, run_dir=tmp_path)
    resumed = fit(split, epochs=4, run_dir=tmp_path, resume=True)
    for name in ("forward_map", "backward_map"):
        for key, array in getattr(first, name).state().items():
            np.testing.assert_array_equal(getattr(resumed, name).state()[key], array)
    with pytest.raises(InputError, match="lam: 3.0 instead of None"):
        fit(split, lam=3.0, run_dir=tmp_path, resume=True)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"backward": "linear"}, UnknownNameError, "no backward map called 'linear'. Known: affine, orthogonal"),
        ({"lam": -1.0}, InputError, "lam must be 0 or more"),
        ({"epochs": 0}, InputError, "epochs must be at least 1"),
    ],
)
def test_refusals(options: dict[str, object], error: type[Exception], match: str, split: PairSplit) -> None:
    with pytest.raises(error, match=match):
        fit(split, **options)
