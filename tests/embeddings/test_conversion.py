from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import embcompat as ec
from embcompat.errors import InputError, SpaceMismatchError
from embcompat.testing import make_pairs


def labelled_pairs() -> ec.PairedEmbeddings:
    pairs = make_pairs(300, source_dim=6, target_dim=4, noise=0.1, normalized=True).pairs
    labels = [f"subject-{row // 2}" for row in range(len(pairs))]
    return ec.PairedEmbeddings(
        *(ec.Embeddings(side.vectors, side.ids, side.space, labels) for side in (pairs.source, pairs.target))
    )


def test_only_vectors_and_space_change(tmp_path: Path) -> None:
    pairs = labelled_pairs()
    aligner = ec.fit_affine(pairs, pairs)
    converted = ec.convert_embeddings(aligner, pairs.source, pairs.target.space)
    assert converted.space == pairs.target.space
    assert converted.ids.tolist() == pairs.ids.tolist()
    assert converted.labels is not None
    assert converted.labels.tolist() == pairs.source.labels.tolist()
    np.testing.assert_array_equal(converted.vectors, aligner.transform(pairs.source.vectors))

    artifact = ec.save_artifact(aligner, tmp_path / "map", source=pairs.source.space, target=pairs.target.space)
    actual = ec.OnnxAligner(artifact).convert(pairs.source)
    assert (actual.space, actual.ids.tolist()) == (converted.space, converted.ids.tolist())
    assert actual.labels.tolist() == converted.labels.tolist()
    np.testing.assert_allclose(actual.vectors, converted.vectors, atol=1e-5)


def test_no_rows_give_no_rows() -> None:
    pairs = labelled_pairs()
    empty = ec.convert_embeddings(ec.fit_affine(pairs, pairs), pairs.source.select([]), pairs.target.space)
    assert len(empty) == 0
    assert empty.space == pairs.target.space


def test_a_space_of_another_length_is_refused() -> None:
    pairs = labelled_pairs()
    with pytest.raises(InputError, match=r"vectors of shape \(300, 6\) for space 'made-old@1'. Got \(300, 4\)"):
        ec.convert_embeddings(ec.fit_affine(pairs, pairs), pairs.source, pairs.source.space)


def test_an_artifact_converts_only_its_source_space(tmp_path: Path) -> None:
    pairs = labelled_pairs()
    artifact = ec.save_artifact(
        ec.fit_affine(pairs, pairs), tmp_path / "map", source=pairs.source.space, target=pairs.target.space
    )
    with pytest.raises(SpaceMismatchError, match="must be in space 'made-old@1'. Got 'made-new@1'"):
        ec.OnnxAligner(artifact).convert(pairs.target)


def test_texts_stay() -> None:
    pairs = labelled_pairs()
    source = pairs.source.with_texts({identifier: f"text of {identifier}" for identifier in pairs.ids})
    converted = ec.convert_embeddings(ec.fit_affine(pairs, pairs), source, pairs.target.space)
    assert converted.texts is not None
    assert converted.texts.tolist() == source.texts.tolist()
