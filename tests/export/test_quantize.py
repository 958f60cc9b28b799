from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embcompat.aligners import AffineAligner, fit_affine
from embcompat.embeddings import Embeddings, PairedEmbeddings, PairSplit, split_pairs, stack_pairs
from embcompat.errors import InputError, ParityError
from embcompat.export import save_artifact
from embcompat.runtime import OnnxAligner
from embcompat.testing import make_pairs


@pytest.fixture(scope="module")
def wide() -> PairSplit:
    return split_pairs(make_pairs(1_500, source_dim=64, target_dim=48, normalized=True).pairs)


def save(aligner: AffineAligner, split: PairSplit, path: Path) -> OnnxAligner:
    spaces = {"source": split.train.source.space, "target": split.train.target.space}
    return OnnxAligner(save_artifact(aligner, path, split=split, int8=True, **spaces))


def test_int8_stays_close_and_records_its_loss(wide: PairSplit, tmp_path: Path) -> None:
    aligner = fit_affine(wide.train, wide.validation)
    actual = save(aligner, wide, tmp_path / "a")
    rows = wide.test.source.vectors
    cosine = np.einsum("ij,ij->i", actual.transform(rows), aligner.transform(rows))
    assert cosine.min() > 0.998
    metrics = {metric.name: metric.value for metric in actual.artifact.manifest.metrics}
    assert metrics["float32_mean_cosine"] - metrics["int8_mean_cosine"] < 0.005
    assert b"QuantizeLinear" in actual.artifact.graph()


@pytest.mark.parametrize(("test", "part"), [(0.2, "test"), (0.0, "validation")])
def test_what_int8_costs_is_measured_without_the_held_out_pairs(test: float, part: str, tmp_path: Path) -> None:
    # Few pairs in many dimensions: an aligner that was fitted on the held-out pairs too comes far closer to them.
    split = split_pairs(make_pairs(300, source_dim=40, target_dim=40, normalized=True, noise=1.0).pairs, test=test)
    held_out = split.test if test else split.validation
    measured = fit_affine(split.train, split.train, penalty=1e-3)
    pairs = stack_pairs(split.train, held_out)
    spaces = {"source": pairs.source.space, "target": pairs.target.space}
    refitted = fit_affine(pairs, pairs, penalty=1e-3)
    exact, in_sample = (
        float(np.sum(aligner.transform(held_out.source.vectors) * held_out.target.vectors, axis=1).mean())
        for aligner in (measured, refitted)
    )
    assert exact < in_sample - 0.03
    options = {"split": split, "measured": measured, "refitted": True, "int8": True, "canary": False}
    figures = {
        metric.name: metric for metric in save_artifact(refitted, tmp_path / "a", **options, **spaces).manifest.metrics
    }
    assert figures["float32_mean_cosine"].value == pytest.approx(exact, abs=1e-6)
    assert figures["int8_mean_cosine"].value < in_sample - 0.03
    assert figures["int8_mean_cosine"].part == figures["float32_mean_cosine"].part == part


def test_int8_scales_are_fixed_so_one_vector_is_as_in_a_batch(wide: PairSplit, tmp_path: Path) -> None:
    actual = save(fit_affine(wide.train, wide.validation), wide, tmp_path / "a")
    rows = wide.test.source.vectors[:20]
    alone = np.stack([actual.transform(row) for row in rows])
    assert np.allclose(alone, actual.transform(rows), atol=1e-6)


def test_int8_is_refused_when_it_costs_too_much(tmp_path: Path) -> None:
    pairs = make_pairs(600, source_dim=16, target_dim=16, similarity="dot").pairs
    # One dimension on a far larger scale leaves the others a step or two of the eight bits.
    stretched = pairs.source.vectors * np.array([1_000.0] + [1.0] * 15, np.float32)
    source = Embeddings(stretched, pairs.ids, pairs.source.space)
    split = split_pairs(PairedEmbeddings(source, pairs.target))
    with pytest.raises(ParityError, match="int8 may cost at most"):
        save(fit_affine(split.train, split.validation), split, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_int8_needs_held_out_pairs(wide: PairSplit, tmp_path: Path) -> None:
    spaces = {"source": wide.train.source.space, "target": wide.train.target.space}
    with pytest.raises(InputError, match="needs held-out pairs"):
        save_artifact(fit_affine(wide.train, wide.validation), tmp_path / "a", int8=True, **spaces)
