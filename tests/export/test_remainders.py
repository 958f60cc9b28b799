"""Kernels in the form that int8 graphs need: the same function, and far less lost by rounding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from embcompat.aligners import AffineAligner, Aligner, reweight
from embcompat.aligners.chain import ChainAligner
from embcompat.aligners.ensemble import EnsembleAligner
from embcompat.aligners.kernel import KernelAligner, fit_kernel
from embcompat.embeddings import Embeddings, PairedEmbeddings, PairSplit, normalize_rows, split_pairs
from embcompat.export import build_graph, save_artifact
from embcompat.export.parity import check_parity
from embcompat.export.quantize import check_int8, quantize_int8
from embcompat.export.remainders import expand_similarities
from embcompat.runtime import OnnxAligner
from embcompat.testing import make_pairs


@pytest.fixture(scope="module")
def curved() -> PairSplit:
    """Pairs whose target bends: a linear map is far from it."""
    pairs = make_pairs(2_000, source_dim=24, target_dim=32, normalized=True).pairs
    target = normalize_rows(np.sin(14 * pairs.target.vectors))
    return split_pairs(PairedEmbeddings(pairs.source, Embeddings(target, pairs.ids, pairs.target.space)))


@pytest.fixture(scope="module")
def kernel(curved: PairSplit) -> KernelAligner:
    return fit_kernel(curved.train, curved.validation, landmarks=500)


def in_chain(kernel: KernelAligner, split: PairSplit) -> Aligner:
    return ChainAligner([kernel, AffineAligner(np.eye(kernel.target_dim)[:10], np.ones(10))])


def in_ensemble(kernel: KernelAligner, split: PairSplit) -> Aligner:
    return EnsembleAligner([kernel, fit_kernel(split.train, split.validation, landmarks=10, seed=1)])


def reweighted(kernel: KernelAligner, split: PairSplit) -> Aligner:
    return reweight(kernel, split.validation)


def alone(kernel: KernelAligner, split: PairSplit) -> Aligner:
    return kernel


@pytest.mark.parametrize("place", [alone, in_chain, in_ensemble, reweighted])
def test_an_expanded_graph_computes_what_the_aligner_computes(
    place: Callable[[KernelAligner, PairSplit], Aligner], kernel: KernelAligner, curved: PairSplit
) -> None:
    aligner = place(kernel, curved)
    model = build_graph(aligner)
    before = model.SerializeToString()
    expanded, small = expand_similarities(model)
    assert model.SerializeToString() == before
    kernels = [node.op_type for node in expanded.graph.node].count("Exp")
    assert kernels == [node.op_type for node in model.graph.node].count("Exp") > 0
    products = {node.name for node in expanded.graph.node if node.op_type in ("Gemm", "MatMul")}
    assert len(products - set(small)) == 2 * kernels  # with the landmarks and with the coefficients
    check_parity(aligner, expanded.SerializeToString(), curved.test.source.vectors)


def test_a_graph_without_kernels_stays_the_same() -> None:
    model = build_graph(AffineAligner(np.eye(3), np.zeros(3)))
    assert expand_similarities(model) == (model, [])


@pytest.mark.parametrize("place", [alone, reweighted])
def test_rounding_costs_a_kernel_little(
    place: Callable[[KernelAligner, PairSplit], Aligner], kernel: KernelAligner, curved: PairSplit, tmp_path: Path
) -> None:
    spaces = {"source": curved.train.source.space, "target": curved.train.target.space}
    actual = OnnxAligner(save_artifact(place(kernel, curved), tmp_path / "a", split=curved, int8=True, **spaces))
    figures = {metric.name: metric.value for metric in actual.artifact.manifest.metrics}
    assert figures["float32_mean_cosine"] - figures["int8_mean_cosine"] < 0.002
    rows = curved.test.source.vectors[:20]
    assert np.allclose(np.stack([actual.transform(row) for row in rows]), actual.transform(rows), atol=1e-6)


def test_rounding_costs_the_plain_form_far_more(
    kernel: KernelAligner, curved: PairSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loss() -> float:
        model = quantize_int8(build_graph(kernel), curved.train.source.vectors)
        exact, rounded = check_int8(kernel, model, curved.test)
        return exact - rounded

    expanded = loss()
    monkeypatch.setattr("embcompat.export.quantize.INT8_TOLERANCE", 1.0)
    monkeypatch.setattr("embcompat.export.quantize.expand_similarities", lambda model: (model, []))
    assert loss() > 5 * abs(expanded)
