from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import embcompat as ec
from embcompat.aligners.text import StaticEncoder, TextAwareAligner
from embcompat.embeddings import transform_embeddings
from embcompat.errors import ArtifactError, InputError
from embcompat.selection import fit_text_aware
from embcompat.testing import check_aligner


@pytest.fixture(scope="session")
def aligner(split: ec.PairSplit, encoder: StaticEncoder) -> TextAwareAligner:
    fit = fit_text_aware(split.train, split.validation, encoder=encoder, landmarks=60)
    assert isinstance(fit.aligner, TextAwareAligner)
    return fit.aligner


def test_it_passes_the_suite(aligner: TextAwareAligner, split: ec.PairSplit) -> None:
    check_aligner(aligner, split)


def test_words_tell_what_the_old_vector_lost(aligner: TextAwareAligner, split: ec.PairSplit) -> None:
    native = split.test.target.vectors

    def cosine(converted: np.ndarray) -> float:
        return float(np.mean(np.sum(converted * native, axis=1)))

    worded = cosine(transform_embeddings(aligner, split.test.source))
    plain = cosine(aligner.plain.transform(split.test.source.vectors))
    assert worded > plain + 0.2


def test_the_artifact_converts_with_texts_and_says_what_it_needs(
    aligner: TextAwareAligner, split: ec.PairSplit, tmp_path: Path
) -> None:
    spaces = {"source": split.train.source.space, "target": split.train.target.space}
    artifact = ec.save_artifact(aligner, tmp_path / "map", split=split, **spaces)
    assert artifact.manifest.config["inputs"] == ["vectors", "texts"]
    onnx = ec.OnnxAligner(artifact)
    assert onnx.reads_texts
    items = split.test.source
    converted = onnx.convert(items)
    np.testing.assert_allclose(converted.vectors, transform_embeddings(aligner, items), atol=1e-5)
    assert converted.texts.tolist() == items.texts.tolist()
    np.testing.assert_allclose(onnx.transform_plain(items.vectors), aligner.plain.transform(items.vectors), atol=1e-5)
    source, _ = artifact.canary()
    np.testing.assert_allclose(onnx.transform_canary(source), converted.vectors[: len(source)], atol=1e-5)
    assert onnx.convertibility(items.vectors).shape == (len(items),)
    bare = ec.Embeddings(items.vectors, items.ids, items.space)
    with pytest.raises(InputError, match="needs the text of each item beside its vector"):
        onnx.convert(bare)
    with pytest.raises(InputError, match=f"one entry for each of the {len(items)} vectors. Got 1"):
        onnx.transform(items.vectors, ["one"])


def test_an_artifact_of_vectors_refuses_texts(split: ec.PairSplit, tmp_path: Path) -> None:
    spaces = {"source": split.train.source.space, "target": split.train.target.space}
    artifact = ec.save_artifact(ec.fit_affine(split.train, split.validation), tmp_path / "map", **spaces)
    with pytest.raises(InputError, match="reads no texts"):
        ec.OnnxAligner(artifact).transform(split.test.source.vectors, list(split.test.source.texts))


def test_an_artifact_without_its_words_is_refused(
    aligner: TextAwareAligner, split: ec.PairSplit, tmp_path: Path
) -> None:
    from safetensors.numpy import save

    from embcompat.artifact import MANIFEST, WEIGHTS, file_digest, read_artifact

    spaces = {"source": split.train.source.space, "target": split.train.target.space}
    artifact = ec.save_artifact(aligner, tmp_path / "map", **spaces)
    state = {name: array for name, array in aligner.state().items() if name != "encoder.vocabulary"}
    (artifact.path / WEIGHTS).write_bytes(save(state))
    files = {**artifact.manifest.files, WEIGHTS: file_digest(artifact.path / WEIGHTS)}
    (artifact.path / MANIFEST).write_bytes(artifact.manifest.model_copy(update={"files": files}).to_bytes())
    with pytest.raises(ArtifactError, match="must hold the words that its aligner reads"):
        ec.OnnxAligner(read_artifact(artifact.path))


def test_int8_is_refused(aligner: TextAwareAligner, split: ec.PairSplit, tmp_path: Path) -> None:
    spaces = {"source": split.train.source.space, "target": split.train.target.space}
    with pytest.raises(InputError, match="int8 is for aligners that read vectors alone"):
        ec.save_artifact(aligner, tmp_path / "map", split=split, int8=True, **spaces)


def test_parts_must_fit(aligner: TextAwareAligner) -> None:
    with pytest.raises(InputError, match=rf"the worded aligner must map 4 \+ {aligner.encoder.dim} to 12"):
        TextAwareAligner(aligner.encoder, aligner.plain, aligner.plain)
