from __future__ import annotations

import contextlib
import json
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from embcompat.aligners import AffineAligner, fit_affine, load_aligner
from embcompat.artifact import CANARY, GRAPH, MANIFEST, PAIRS, WEIGHTS, Artifact, Metric, parse_manifest, read_artifact
from embcompat.embeddings import PairSplit, split_pairs
from embcompat.errors import ArtifactError, InputError, ParityError
from embcompat.export import artifacts as export_artifacts
from embcompat.export import save_artifact
from embcompat.runtime import OnnxAligner
from embcompat.testing import check_aligner, make_pairs


@pytest.fixture
def artifact(tmp_path: Path, split: PairSplit) -> Artifact:
    aligner = fit_affine(split.train, split.validation)
    spaces = split.train.source.space, split.train.target.space
    metric = Metric(name="mean_cosine", value=0.9, low=0.8, high=1.0, count=3)
    return save_artifact(
        aligner, tmp_path / "old-to-new", source=spaces[0], target=spaces[1], split=split, metrics=[metric]
    )


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("dims", [(12, 12), (12, 5), (5, 12)])
def test_affine_aligners_pass_the_suite(dims: tuple[int, int], normalized: bool) -> None:
    synthetic = make_pairs(200, source_dim=dims[0], target_dim=dims[1], normalized=normalized, how="affine")
    parts = split_pairs(synthetic.pairs)
    check_aligner(fit_affine(parts.train, parts.validation), parts)


def test_an_artifact_says_what_it_is(artifact: Artifact, split: PairSplit) -> None:
    again = read_artifact(artifact.path)
    assert again == artifact
    assert again.manifest.split == {name: len(part) for name, part in split.parts().items()}
    assert again.source == split.train.source.space
    assert again.target == split.train.target.space
    assert set(again.manifest.files) == {WEIGHTS, GRAPH, PAIRS, CANARY}
    assert again.pair_ids("train") == set(split.train.ids.tolist())
    assert again.pair_ids() == set().union(*(set(part.ids.tolist()) for part in split.parts().values()))


def test_the_canary_is_held_out(artifact: Artifact, split: PairSplit) -> None:
    canary = artifact.canary()
    assert canary is not None
    assert np.array_equal(canary[0], split.test.source.vectors[:64])
    assert np.array_equal(canary[1], split.test.target.vectors[:64])


def test_saving_twice_gives_the_same_id(artifact: Artifact, split: PairSplit, tmp_path: Path) -> None:
    aligner = load_aligner(artifact)
    again = save_artifact(
        aligner,
        tmp_path / "again",
        source=artifact.source,
        target=artifact.target,
        split=split,
        metrics=artifact.manifest.metrics,
    )
    assert again.id == artifact.id


@pytest.mark.parametrize("name", [WEIGHTS, GRAPH, PAIRS, CANARY])
def test_every_changed_byte_of_a_file_is_found(artifact: Artifact, name: str) -> None:
    path = artifact.path / name
    for changed in _changed(path.read_bytes()):
        path.write_bytes(changed)
        with pytest.raises(ArtifactError, match="damaged"):
            read_artifact(artifact.path)


def test_every_changed_byte_of_the_manifest_changes_the_id_or_is_refused(artifact: Artifact) -> None:
    path, ids = artifact.path / MANIFEST, set()
    for changed in _changed(path.read_bytes()):
        path.write_bytes(changed)
        with contextlib.suppress(ArtifactError):
            ids.add(read_artifact(artifact.path).id)
    assert artifact.id not in ids


def _changed(data: bytes, times: int = 20) -> list[bytes]:
    rng = np.random.default_rng(0)
    result = []
    for position, bit in zip(rng.integers(len(data), size=times), rng.integers(8, size=times), strict=True):
        copy = bytearray(data)
        copy[position] ^= 1 << int(bit)
        result.append(bytes(copy))
    return result


def test_missing_and_extra_files_are_refused(artifact: Artifact) -> None:
    (artifact.path / "notes.txt").write_text("hello")
    with pytest.raises(ArtifactError, match=r"Not listed: \['notes.txt'\]"):
        read_artifact(artifact.path)
    (artifact.path / "notes.txt").unlink()
    (artifact.path / GRAPH).unlink()
    with pytest.raises(ArtifactError, match=r"Missing: \['aligner.onnx'\]"):
        read_artifact(artifact.path)


def test_another_schema_version_and_another_form_are_refused(artifact: Artifact) -> None:
    data = (artifact.path / MANIFEST).read_bytes()
    raw = json.loads(data)
    with pytest.raises(ArtifactError, match="canonical"):
        parse_manifest(json.dumps(raw, indent=1).encode())
    with pytest.raises(ArtifactError, match="schema version 2"):
        parse_manifest(json.dumps({**raw, "schema_version": 2}).encode())
    with pytest.raises(ArtifactError, match="not JSON"):
        parse_manifest(data[:-10])
    with pytest.raises(ArtifactError, match="must list"):
        parse_manifest(json.dumps({**raw, "files": {"../x": "0"}}).encode())


def test_the_wrong_direction_is_refused(split: PairSplit, tmp_path: Path) -> None:
    aligner = fit_affine(split.train, split.validation)
    with pytest.raises(InputError, match="wrong direction"):
        save_artifact(
            aligner, tmp_path / "x", source=split.train.target.space, target=split.train.source.space, split=split
        )
    assert not (tmp_path / "x").exists()


def test_a_taken_path_is_replaced_only_when_asked_and_only_if_an_artifact(artifact: Artifact, tmp_path: Path) -> None:
    aligner, spaces = load_aligner(artifact), {"source": artifact.source, "target": artifact.target}
    with pytest.raises(InputError, match="exists already"):
        save_artifact(aligner, artifact.path, **spaces)
    assert save_artifact(aligner, artifact.path, **spaces, overwrite=True).id != artifact.id
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter").write_text("one")
    with pytest.raises(InputError, match="not an artifact"):
        save_artifact(aligner, other, **spaces, overwrite=True)
    assert (other / "chapter").read_text() == "one"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["old-to-new", "thesis"]


def test_a_graph_that_computes_something_else_is_not_written(
    split: PairSplit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aligner = fit_affine(split.train, split.validation)
    other = AffineAligner(aligner.weight * 1.01, aligner.bias)
    build = export_artifacts.build_graph
    monkeypatch.setattr(export_artifacts, "build_graph", lambda _: build(other))
    with pytest.raises(ParityError, match="must match"):
        save_artifact(aligner, tmp_path / "x", source=split.train.source.space, target=split.train.target.space)
    assert list(tmp_path.iterdir()) == []


def test_served_in_blocks_alone_and_empty(artifact: Artifact) -> None:
    onnx, aligner = OnnxAligner(artifact.path, threads=1), load_aligner(artifact)
    rows = np.random.default_rng(0).standard_normal((20_000, artifact.source.dim)).astype(np.float32)
    result = onnx.transform(rows)
    assert result.dtype == np.float32
    assert np.allclose(result, aligner.transform(rows), atol=1e-5)
    assert np.allclose(onnx.transform(rows[7]), result[7], atol=1e-6)
    assert onnx.transform(rows[:0]).shape == (0, artifact.target.dim)
    assert np.allclose(onnx.transform(rows[:5].astype(np.float64)), result[:5], atol=1e-6)


def test_messages_when_serving(artifact: Artifact) -> None:
    onnx = OnnxAligner(artifact.path)
    with pytest.raises(InputError, match=r"shape \(n, 12\)"):
        onnx.transform(np.zeros((2, 8), np.float32))
    with pytest.raises(InputError, match="must be floats"):
        onnx.transform(np.zeros((2, 12), np.int64))
    with pytest.raises(InputError, match="threads"):
        OnnxAligner(artifact.path, threads=0)
    with pytest.raises(InputError, match="not an artifact"):
        OnnxAligner(artifact.path.parent)


def test_an_aligner_goes_to_a_pool_of_workers(artifact: Artifact, split: PairSplit, tmp_path: Path) -> None:
    aligner = OnnxAligner(artifact.path, threads=1)
    vectors = split.test.source.vectors
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert np.array_equal(pool.submit(aligner.transform, vectors).result(), aligner.transform(vectors))
    data = pickle.dumps(aligner)
    save_artifact(
        fit_affine(split.validation, split.test),
        artifact.path,
        source=artifact.source,
        target=artifact.target,
        overwrite=True,
    )
    with pytest.raises(ArtifactError, match="as when it was pickled"):
        pickle.loads(data)
