from __future__ import annotations

import numpy as np
import pytest

from embcompat.aligners import AffineAligner, Aligner, fit_affine
from embcompat.aligners.chain import ChainAligner
from embcompat.aligners.ensemble import EnsembleAligner
from embcompat.aligners.kernel import fit_kernel
from embcompat.aligners.output import match_variance, reweight
from embcompat.embeddings import PairSplit, split_pairs
from embcompat.errors import InputError
from embcompat.testing import check_aligner, make_pairs


def fit_members(split: PairSplit) -> list[Aligner]:
    ridge = fit_affine(split.train, split.validation)
    return [ridge, fit_kernel(split.train, split.validation, landmarks=40)]


@pytest.mark.parametrize("normalized", [False, True])
def test_ensembles_pass_the_suite(normalized: bool) -> None:
    split = split_pairs(make_pairs(300, source_dim=6, target_dim=8, normalized=normalized).pairs)
    ensemble = EnsembleAligner(fit_members(split), normalize=normalized)
    check_aligner(ensemble, split)
    if normalized:
        check_aligner(reweight(ensemble, split.validation), split)
    else:
        check_aligner(match_variance(ensemble, split.validation), split)


def test_neural_and_numpy_members_share_one_graph_in_a_chain_too() -> None:
    import torch

    from embcompat.aligners.neural import ResidualAligner

    torch.set_num_threads(1)
    torch.manual_seed(0)
    split = split_pairs(make_pairs(300, source_dim=6, target_dim=8, normalized=True).pairs)
    network = ResidualAligner(6, 8, hidden=16, normalize=True).eval()
    ensemble = EnsembleAligner([*fit_members(split), network], normalize=True)
    check_aligner(ensemble, split)
    turn = AffineAligner(np.linalg.qr(np.random.default_rng(0).standard_normal((8, 8)))[0], np.zeros(8))
    check_aligner(ChainAligner([ensemble, turn]), split)


def test_equal_members_change_nothing_and_their_order_does_not_matter(split: PairSplit) -> None:
    ridge, kernel = fit_members(split)
    rows = split.validation.source.vectors
    twice = EnsembleAligner([ridge, ridge, ridge]).transform(rows)
    assert np.allclose(twice, ridge.transform(rows), atol=1e-5)
    there, back = EnsembleAligner([ridge, kernel]), EnsembleAligner([kernel, ridge])
    assert np.allclose(there.transform(rows), back.transform(rows), atol=1e-5)


def test_members_that_err_apart_are_better_together() -> None:
    rng = np.random.default_rng(0)
    true, errors = rng.standard_normal((8, 6)), 0.3 * rng.standard_normal((2, 8, 6))
    members = [AffineAligner(true + error, np.zeros(8)) for error in errors]
    rows = rng.standard_normal((200, 6)).astype(np.float32)
    expected = rows @ true.T
    alone = [float(np.square(member.transform(rows) - expected).mean()) for member in members]
    together = float(np.square(EnsembleAligner(members).transform(rows) - expected).mean())
    # The mean of two independent errors of equal size has half the square.
    assert together < 0.7 * min(alone)


def test_what_does_not_fit_is_refused() -> None:
    small, large = AffineAligner(np.eye(3), np.zeros(3)), AffineAligner(np.eye(4), np.zeros(4))
    with pytest.raises(InputError, match="at least two aligners. Got 1"):
        EnsembleAligner([small])
    with pytest.raises(InputError, match="must map the same dimensions"):
        EnsembleAligner([small, large])
    with pytest.raises(InputError, match="weight and bias must have the shapes"):
        EnsembleAligner([small, small], np.eye(4), np.zeros(3))
