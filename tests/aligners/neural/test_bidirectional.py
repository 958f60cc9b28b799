from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import orthogonal_procrustes

from embcompat.aligners import GramSums, fit_affine
from embcompat.aligners.neural.bidirectional import (
    BidirectionalMaps,
    BidirectionalWeights,
    backward_start,
    bidirectional_losses,
    start_maps,
)
from embcompat.aligners.neural.losses import info_nce, mse, supervised_contrastive
from embcompat.aligners.neural.penalties import lambda_orthogonality_penalty
from embcompat.embeddings import PairedEmbeddings, split_pairs
from embcompat.errors import UnknownNameError
from embcompat.testing import make_pairs


def orthogonal(dim: int, *, reflect: bool, seed: int = 0) -> np.ndarray:
    matrix = np.linalg.qr(np.random.default_rng(seed).standard_normal((dim, dim)))[0]
    if (np.linalg.det(matrix) < 0) != reflect:
        matrix[0] *= -1
    return matrix


def pairs(old_dim: int = 6, new_dim: int = 6, count: int = 300, **options) -> PairedEmbeddings:
    return make_pairs(count, source_dim=old_dim, target_dim=new_dim, **options).pairs


def maps_of(samples: PairedEmbeddings, backward: str) -> BidirectionalMaps:
    parts = split_pairs(samples, test=0.0)
    sums = GramSums.of([(samples.source.vectors, samples.target.vectors)])
    return start_maps(sums, fit_affine(parts.train, parts.validation), backward)


@pytest.mark.parametrize("reflect", [False, True])
def test_backward_start_recovers_a_rotation_or_reflection(reflect: bool) -> None:
    known = orthogonal(5, reflect=reflect)
    new = np.random.default_rng(1).standard_normal((50, 5)) + 2.0
    result = backward_start((new @ known.T).T @ new)
    np.testing.assert_allclose(result, known, atol=1e-10)
    assert np.linalg.det(result) == pytest.approx(-1 if reflect else 1)


def test_backward_start_is_scipys_procrustes_when_square() -> None:
    rng = np.random.default_rng(3)
    old, new = rng.standard_normal((2, 40, 5))
    expected = orthogonal_procrustes(new, old)[0].T
    np.testing.assert_allclose(backward_start(old.T @ new), expected, atol=1e-10)


@pytest.mark.parametrize(("old_dim", "new_dim"), [(3, 7), (7, 3)])
def test_backward_start_is_orthogonal_and_meets_the_shared_dimensions(old_dim: int, new_dim: int) -> None:
    rng = np.random.default_rng(4)
    known = orthogonal(new_dim, reflect=False)
    # In a white space the largest inner product is the least squared error too.
    new = np.linalg.qr(rng.standard_normal((60, new_dim)))[0]
    old = np.concatenate([new @ known.T, rng.standard_normal((60, 7))], axis=1)[:, :old_dim]
    result = backward_start(old.T @ new)
    np.testing.assert_allclose(result @ result.T, np.eye(new_dim), atol=1e-10)
    shared = min(old_dim, new_dim)
    np.testing.assert_allclose((new @ result.T)[:, :shared], old[:, :shared], atol=1e-10)


@pytest.mark.parametrize("backward", ["affine", "orthogonal"])
@pytest.mark.parametrize(("old_dim", "new_dim"), [(6, 6), (4, 7), (7, 4)])
def test_maps_start_at_the_closed_forms(backward: str, old_dim: int, new_dim: int) -> None:
    synthetic = pairs(old_dim, new_dim, noise=0.001)
    maps = maps_of(synthetic, backward)
    old, new = synthetic.source.vectors, synthetic.target.vectors
    rotation = backward_start(old.T.astype(np.float64) @ new)
    pair = maps.fold(normalize=False)
    np.testing.assert_allclose(pair.backward_map.weight, rotation, atol=1e-5)
    assert not pair.backward_map.bias.any()
    if old_dim >= new_dim:
        return  # a map from more dimensions loses what the pairs were made with
    np.testing.assert_allclose(pair.forward_map.transform(old), pair.backward_map.transform(new), atol=0.05)


@pytest.mark.parametrize("reflect", [False, True])
def test_a_strict_backward_map_stays_orthogonal_and_keeps_its_determinant(reflect: bool) -> None:
    maps = BidirectionalMaps(orthogonal(6, reflect=reflect), np.eye(6), np.zeros(6), backward="orthogonal")
    optimizer = torch.optim.Adam(maps.parameters(), lr=0.05)
    new, old = torch.tensor(np.random.default_rng(5).standard_normal((2, 40, 6)), dtype=torch.float32)
    for _ in range(30):
        optimizer.zero_grad()
        mse(maps(old, new)[1], old).backward()
        optimizer.step()
    folded = maps.fold(normalize=False).backward_map
    weight = folded.weight.astype(np.float64)
    assert np.abs(weight - orthogonal(6, reflect=reflect)).max() > 0.1
    np.testing.assert_allclose(weight @ weight.T, np.eye(6), atol=1e-6)
    assert np.linalg.det(weight) == pytest.approx(-1 if reflect else 1, abs=1e-5)
    # B/B = new/new.
    mapped = folded.transform(new.numpy())
    np.testing.assert_allclose(mapped @ mapped.T, new.numpy() @ new.numpy().T, atol=1e-4)


def test_folding_gives_what_the_maps_give() -> None:
    synthetic = pairs(4, 6)
    for backward in ("affine", "orthogonal"):
        maps = maps_of(synthetic, backward)
        old, new = (torch.tensor(side.vectors[:10]) for side in (synthetic.source, synthetic.target))
        with torch.no_grad():
            expected = [side.numpy() for side in maps(old, new)]
        pair = maps.fold(normalize=False)
        np.testing.assert_allclose(pair.forward_map.transform(old.numpy()), expected[0], atol=1e-5)
        np.testing.assert_allclose(pair.backward_map.transform(new.numpy()), expected[1], atol=1e-5)
        assert maps.fold(normalize=True).forward_map.normalize
        assert pair.forward_map.config() == {"normalize": False, "solver": "bidirectional"}


@pytest.mark.parametrize(("old_dim", "new_dim"), [(6, 6), (4, 6), (6, 4)])
def test_the_terms_of_the_loss(old_dim: int, new_dim: int) -> None:
    synthetic = pairs(old_dim, new_dim, count=40)
    maps = maps_of(synthetic, "affine")
    old, new = (torch.tensor(side.vectors) for side in (synthetic.source, synthetic.target))
    labels = torch.arange(40) % 9
    forward, backward = maps(old, new)
    shared = min(old_dim, new_dim)
    weights = BidirectionalWeights(2.0, 3.0, 5.0, temperature=0.2, lam=1.0)
    for classes in (None, labels):

        def contrast(x: torch.Tensor, y: torch.Tensor, classes: torch.Tensor | None = classes) -> torch.Tensor:
            if classes is None:
                return info_nce(x, y, temperature=0.2)
            return supervised_contrastive(x, y, classes, temperature=0.2)

        expected = {
            "forward": 2 * mse(forward, backward),
            "backward": 3 * mse(backward[:, :shared], old[:, :shared]),
            "contrastive": 5 * (contrast(forward, backward) + contrast(forward[:, :shared], old[:, :shared])),
            "penalty": lambda_orthogonality_penalty(maps.backward_map.weight, lam=1.0),
        }
        terms = bidirectional_losses(maps, old, new, classes, weights)
        assert terms.keys() == expected.keys()
        for name, value in terms.items():
            assert value.item() == pytest.approx(expected[name].item(), rel=1e-5, abs=1e-7)


def test_a_strict_map_has_no_penalty() -> None:
    synthetic = pairs(count=40)
    old, new = (torch.tensor(side.vectors) for side in (synthetic.source, synthetic.target))
    terms = bidirectional_losses(maps_of(synthetic, "orthogonal"), old, new, None, BidirectionalWeights())
    assert "penalty" not in terms


def test_unknown_backward_map() -> None:
    with pytest.raises(UnknownNameError, match="no backward map called 'linear'. Known: affine, orthogonal"):
        maps_of(pairs(count=40), "linear")
