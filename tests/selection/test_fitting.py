from __future__ import annotations

import numpy as np
import pytest
import torch

from embcompat.aligners import AffineAligner, AlignerPair, fit_affine
from embcompat.aligners.kernel import fit_kernel
from embcompat.embeddings import PairSplit
from embcompat.errors import InputError, UnknownNameError
from embcompat.selection import KINDS, fit_aligner
from embcompat.selection.fitting import fit_ensemble


@pytest.mark.parametrize("kind", ["ridge", "procrustes", "low_rank", "kernel", "canonical"])
def test_every_closed_form_has_one_way_in(kind: str, split: PairSplit) -> None:
    fitted = fit_aligner(kind, split.train, split.validation)
    maps = [fitted.forward_map, fitted.backward_map] if isinstance(fitted, AlignerPair) else [fitted]
    assert maps[0].source_dim == split.train.source.space.dim
    assert maps[0].target_dim == maps[-1].target_dim


@pytest.mark.parametrize("kind", ["dense", "multi_branch", "residual", "ensemble", "bidirectional"])
def test_every_neural_kind_has_one_way_in(kind: str, split: PairSplit) -> None:
    fitted = fit_aligner(kind, split.train, split.validation, epochs=1, device="cpu")
    assert isinstance(fitted, AlignerPair) == (kind == "bidirectional")


def test_options_reach_the_fit(split: PairSplit) -> None:
    fitted = fit_aligner("low_rank", split.train, split.validation, rank=1)
    assert isinstance(fitted, AffineAligner)
    centred = fitted.transform(split.test.source.vectors)
    centred -= centred.mean(axis=0)
    assert abs(centred[:, 0] * centred[0, 1] - centred[:, 1] * centred[0, 0]).max() < 1e-3 * abs(centred).max() ** 2


def test_an_ensemble_averages_a_kernel_aligner_and_a_network(split: PairSplit) -> None:
    network = fit_affine(split.train, split.validation)
    fitted = fit_ensemble(split.train, split.validation, network=network)
    kernel = fit_kernel(split.train, split.validation, refit=True)
    rows = split.test.source.vectors
    assert np.allclose(fitted.transform(rows), (kernel.transform(rows) + network.transform(rows)) / 2, atol=1e-5)


def test_unknown_kinds_list_the_known_ones(split: PairSplit) -> None:
    with pytest.raises(UnknownNameError, match=r"kind of aligner called 'linear'\. Known: .*ridge"):
        fit_aligner("linear", split.train, split.validation)
    assert len(set(KINDS)) == len(KINDS)


def test_arrays_lists_and_tensors_are_fitted_row_by_row() -> None:
    rng = np.random.default_rng(0)
    old = rng.standard_normal((300, 6))
    new = old @ rng.standard_normal((6, 4))
    for source, target in ((old, new), (old.tolist(), new.tolist()), (torch.tensor(old), torch.tensor(new))):
        aligner = fit_aligner("ridge", source, target)
        np.testing.assert_allclose(aligner.transform(old), new, atol=1e-2)
    assert fit_aligner("auto", old, new).transform(old).shape == (300, 4)
    with pytest.raises(InputError, match="row by row. Got 300 and 299 rows"):
        fit_aligner("ridge", old, new[1:])
    with pytest.raises(InputError, match="every row of the same length"):
        fit_aligner("ridge", [[1.0], [1.0, 2.0]], new)
