from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest

from embcompat.aligners import AffineAligner, Aligner, fit_affine
from embcompat.aligners.chain import ChainAligner, chain_aligners
from embcompat.embeddings import split_pairs
from embcompat.errors import InputError
from embcompat.export import build_graph
from embcompat.testing import check_aligner, make_pairs


def affine(source_dim: int, target_dim: int, seed: int, *, normalize: bool = False) -> AffineAligner:
    rng = np.random.default_rng(seed)
    return AffineAligner(
        rng.standard_normal((target_dim, source_dim)), rng.standard_normal(target_dim), normalize=normalize
    )


def one_by_one(steps: list[Aligner], rows: np.ndarray) -> np.ndarray:
    for step in steps:
        rows = step.transform(rows)
    return rows


@pytest.mark.parametrize("normalized", [False, True])
def test_chains_pass_the_suite(normalized: bool) -> None:
    split = split_pairs(make_pairs(300, source_dim=6, target_dim=8, normalized=normalized).pairs)
    first = fit_affine(split.train, split.validation)
    chain = ChainAligner([first, affine(8, 5, 0), affine(5, 8, 1, normalize=normalized)])
    check_aligner(chain, split)


@pytest.mark.parametrize("at", [0, 1, 2])
def test_folding_changes_nothing_and_stops_at_a_normalization(at: int) -> None:
    steps = [affine(4, 6, 0), affine(6, 3, 1), affine(3, 5, 2)]
    steps[at] = affine(steps[at].source_dim, steps[at].target_dim, 9, normalize=True)
    rows = np.random.default_rng(3).standard_normal((50, 4)).astype(np.float32)
    folded = chain_aligners(steps)
    assert np.allclose(folded.transform(rows), one_by_one(list(steps), rows), atol=1e-4)
    assert folded.kind == ("affine" if at == 2 else "chain")
    assert folded.normalize == (at == 2)
    if isinstance(folded, ChainAligner):
        assert len(folded.steps) == 2


def test_folded_matrices_are_the_product() -> None:
    steps = [affine(4, 6, 0), affine(6, 3, 1), affine(3, 5, 2)]
    folded = chain_aligners(steps)
    assert isinstance(folded, AffineAligner)
    product = steps[2].weight.astype(np.float64) @ steps[1].weight @ steps[0].weight
    assert np.allclose(folded.weight, product, rtol=1e-4, atol=1e-5)
    assert chain_aligners(steps[:1]) is steps[0]


def test_chains_of_chains_are_flat() -> None:
    steps = [affine(4, 4, seed, normalize=True) for seed in range(4)]
    nested = chain_aligners([ChainAligner(steps[:2]), ChainAligner(steps[2:])])
    assert isinstance(nested, ChainAligner)
    assert list(nested.steps) == steps


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="step 2 must read vectors of length 6, which step 1 writes. It reads 5"):
        chain_aligners([affine(4, 6, 0), affine(5, 3, 1)])
    with pytest.raises(InputError, match="at least two aligners"):
        ChainAligner([affine(4, 4, 0)])
    with pytest.raises(InputError, match="Got none"):
        chain_aligners([])


def test_neural_and_affine_steps_share_one_graph() -> None:
    import torch

    from embcompat.aligners.neural import DenseAligner

    torch.set_num_threads(1)
    torch.manual_seed(0)
    chain = ChainAligner([DenseAligner(6, 4).eval(), affine(4, 8, 0, normalize=True), affine(8, 8, 1)])
    rows = np.random.default_rng(0).standard_normal((30, 6)).astype(np.float32)
    session = ort.InferenceSession(build_graph(chain).SerializeToString(), providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {session.get_inputs()[0].name: rows})
    assert np.allclose(result, chain.transform(rows), atol=1e-4)
