from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from sklearn.covariance import ledoit_wolf

from embcompat.aligners import fit_affine
from embcompat.aligners.canonical import fit_canonical
from embcompat.artifact import CONVERTIBILITY, Artifact
from embcompat.chains import save_composed
from embcompat.embeddings import PairedEmbeddings, PairSplit, split_pairs
from embcompat.errors import InputError, ParityError
from embcompat.export import save_aligner_pair, save_artifact
from embcompat.export.convertibility import (
    Convertibility,
    add_convertibility,
    check_convertibility,
    fit_convertibility,
    shrunk_covariance,
)
from embcompat.runtime import OnnxAligner
from embcompat.testing import make_pairs


def save(split: PairSplit, path: Path, **options: bool) -> Artifact:
    spaces = {"source": split.train.source.space, "target": split.train.target.space}
    return save_artifact(fit_affine(split.train, split.validation), path, split=split, **spaces, **options)


@pytest.mark.parametrize("count", [5, 40, 3_000])
def test_the_covariance_is_ledoit_and_wolfs(count: int) -> None:
    rng = np.random.default_rng(count)
    rows = rng.standard_normal((count, 12)) @ rng.standard_normal((12, 12))
    rows -= rows.mean(axis=0)
    assert np.allclose(shrunk_covariance(rows), ledoit_wolf(rows, assume_centered=True)[0])


def test_it_is_the_mahalanobis_distance_over_the_held_out_median(split: PairSplit, tmp_path: Path) -> None:
    aligner = OnnxAligner(save(split, tmp_path / "a"))
    train, test = (part.source.vectors.astype(np.float64) for part in (split.train, split.test))
    mean = train.mean(axis=0)
    inverse = np.linalg.inv(ledoit_wolf(train - mean, assume_centered=True)[0])
    distances = np.sqrt(np.einsum("ij,jk,ik->i", test - mean, inverse, test - mean))
    result = aligner.convertibility(split.test.source.vectors)
    assert np.allclose(result, distances / np.median(distances), rtol=1e-4)
    calibration = aligner.artifact.manifest.calibration[CONVERTIBILITY]
    assert isinstance(calibration, dict)
    assert calibration["count"] == len(test)
    assert isinstance(calibration["quantiles"], dict)
    assert calibration["quantiles"]["0.95"] == pytest.approx(np.quantile(result, 0.95), rel=1e-4)


def test_what_is_far_from_the_pairs_scores_high_alone_and_in_a_batch(split: PairSplit, tmp_path: Path) -> None:
    aligner = OnnxAligner(save(split, tmp_path / "a"), threads=1)
    rows = np.resize(split.test.source.vectors, (9_000, 12))
    result = aligner.convertibility(rows)
    assert result.shape == (9_000,)
    assert result.dtype == np.float32
    assert aligner.convertibility(20 * rows[:50]).min() > np.max(result)
    assert aligner.convertibility(rows[3]).shape == ()
    assert np.allclose(aligner.convertibility(rows[3]), result[3], rtol=1e-5)
    assert aligner.convertibility(rows[:0]).shape == (0,)


@pytest.mark.parametrize("int8", [False, True])
def test_transform_does_not_compute_it(split: PairSplit, tmp_path: Path, int8: bool) -> None:
    aligner = OnnxAligner(save(split, tmp_path / "a", int8=int8))
    assert [output.name for output in aligner._session.get_outputs()] == ["converted"]
    assert [output.name for output in aligner._convertibility_session.get_outputs()] == [CONVERTIBILITY]
    whole = onnx.load_model_from_string(aligner.artifact.graph()).graph
    operators = [node.op_type for node in whole.node if node.name.split(".")[0] == CONVERTIBILITY]
    assert operators == ["Sub", "MatMul", "ReduceL2"]  # float32, also where the map is int8
    rows = split.test.source.vectors
    plain = save(split, tmp_path / "b", int8=False)
    assert np.array_equal(aligner.convertibility(rows), OnnxAligner(plain).convertibility(rows))


def test_each_of_a_pair_reads_its_own_side(split: PairSplit, tmp_path: Path) -> None:
    pair = fit_canonical(split.train)
    shared = split.train.target.space.model_copy(update={"name": "shared", "dim": pair.forward_map.target_dim})
    artifacts = save_aligner_pair(
        pair,
        tmp_path / "pair",
        old=split.train.source.space,
        new=split.train.target.space,
        shared=shared,
        split=split,
    )
    for artifact, side in zip(artifacts, (split.test.source, split.test.target), strict=True):
        assert np.median(OnnxAligner(artifact).convertibility(side.vectors)) == pytest.approx(1.0, rel=1e-3)


def test_artifacts_without_held_out_pairs_and_chains_have_none(tmp_path: Path) -> None:
    pairs = make_pairs(200, source_dim=6, target_dim=6).pairs
    whole = split_pairs(pairs, validation=0.0, test=0.0)
    spaces = {"source": pairs.source.space, "target": pairs.target.space}
    bare = save_artifact(fit_affine(whole.train, whole.train), tmp_path / "bare", split=whole, **spaces)
    with pytest.raises(InputError, match="has no convertibility"):
        OnnxAligner(bare).convertibility(pairs.source.vectors)
    assert bare.manifest.calibration == {}
    first = save(split_pairs(pairs), tmp_path / "first")
    chain = save_composed([first], tmp_path / "chain")
    with pytest.raises(InputError, match="use its first step"):
        OnnxAligner(chain).convertibility(pairs.source.vectors)


def test_sources_that_do_not_vary_have_none() -> None:
    same = np.ones((5, 3), dtype=np.float32)
    assert fit_convertibility(same, same) is None


def test_a_graph_that_scores_otherwise_is_refused(split: PairSplit, tmp_path: Path) -> None:
    rows = split.train.source.vectors
    fitted = fit_convertibility(rows, split.test.source.vectors)
    assert fitted is not None
    model = onnx.load_model_from_string((save_plain(split.train, tmp_path)).graph())
    extended = add_convertibility(model, fitted).SerializeToString()
    check_convertibility(fitted, extended, rows)
    other = Convertibility(fitted.mean, fitted.weight * 1.01, fitted.held_out)
    with pytest.raises(ParityError, match="convertibility must match"):
        check_convertibility(other, extended, rows)


def save_plain(pairs: PairedEmbeddings, folder: Path) -> Artifact:
    aligner = fit_affine(pairs, pairs)
    return save_artifact(aligner, folder / "plain", source=pairs.source.space, target=pairs.target.space)
