from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from scipy.stats import multivariate_normal

from embcompat.doctor import SpaceReference, fit_reference
from embcompat.embeddings import Embeddings
from embcompat.errors import FileFormatError, InputError
from tests.doctor.galleries import DIM, draw, embeddings, space


def test_distances_are_mahalanobis_distances(references: list[SpaceReference]) -> None:
    reference = references[0]
    rows = draw("alpha", 20, seed=3, normalized=True)
    share = DIM / (DIM + reference.count)
    shrunk = (1 - share) * reference.covariance + share * np.trace(reference.covariance) / DIM * np.eye(DIM)
    inverse = np.linalg.inv(shrunk)
    expected = [mahalanobis(row, reference.mean, inverse) ** 2 for row in rows]
    assert np.allclose(reference.distances(rows), expected, rtol=1e-3)
    density = multivariate_normal(reference.mean, shrunk).logpdf(rows)
    assert np.allclose(-2 * density - DIM * np.log(2 * np.pi), reference.deviances(rows), rtol=1e-3, atol=1e-2)


def test_mean_and_covariance_are_those_of_the_rows_not_in_the_sketch() -> None:
    given_rows = embeddings("alpha", 1_000)
    reference = fit_reference(given_rows, sketch_rows=100)
    assert reference.sketch.shape == (100, DIM)
    sketched = {row.tobytes() for row in reference.sketch}
    rest = np.array([row for row in given_rows.vectors if row.tobytes() not in sketched], dtype=np.float64)
    assert (len(rest), reference.count) == (900, 900)
    assert np.allclose(reference.mean, rest.mean(axis=0))
    assert np.allclose(reference.covariance, np.cov(rest.T), rtol=1e-4)
    bare = fit_reference(given_rows, sketch_rows=0)
    assert (bare.count, len(bare.sketch)) == (1_000, 0)


def test_whole_subjects_are_set_aside() -> None:
    plain = embeddings("alpha", 1_000)
    labels = ["crowd"] * 500 + [f"subject-{row // 5}" for row in range(500)]
    labelled = Embeddings(plain.vectors, plain.ids, plain.space, labels)
    reference = fit_reference(labelled, sketch_rows=100)
    row_of = {row.tobytes(): number for number, row in enumerate(plain.vectors)}
    held_out = {labels[row_of[row.tobytes()]] for row in reference.sketch}
    assert len(reference.sketch) == 100
    assert len(held_out) == 20


def test_references_survive_bytes_and_files(references: list[SpaceReference], tmp_path: Path) -> None:
    references[0].save(tmp_path / "alpha.safetensors")
    again = SpaceReference.load(tmp_path / "alpha.safetensors")
    assert (again.space, again.count) == (references[0].space, references[0].count)
    rows = draw("alpha", 50, seed=3, normalized=True)
    assert np.allclose(again.deviances(rows), references[0].deviances(rows), rtol=1e-3)
    assert np.array_equal(again.sketch, references[0].sketch)


def test_what_is_no_reference_is_refused(references: list[SpaceReference], tmp_path: Path) -> None:
    from safetensors.numpy import load, save

    with pytest.raises(FileFormatError, match="cannot be read"):
        SpaceReference.load(tmp_path / "missing")
    with pytest.raises(FileFormatError, match="is not the reference of a space"):
        SpaceReference.from_bytes(b"nonsense")
    good = load(references[0].to_bytes())
    for name, bad in {
        "mean": np.full(DIM, np.nan),
        "covariance": np.zeros((DIM, DIM + 1), np.float32),
        "sketch": np.zeros((3, 2), np.float32),
        "count": np.array([0]),
    }.items():
        with pytest.raises(FileFormatError, match="must hold finite arrays"):
            SpaceReference.from_bytes(save({**good, name: bad}))
    with pytest.raises(FileFormatError, match="positive definite"):
        SpaceReference.from_bytes(save({**good, "covariance": -np.eye(DIM, dtype=np.float32)}))
    with pytest.raises(FileFormatError, match="is not the reference of a space"):
        SpaceReference.from_bytes(save({**good, "space": np.frombuffer(b"{}", dtype=np.uint8)}))


def test_too_little_to_fit_a_reference_on() -> None:
    with pytest.raises(InputError, match="more vectors than dimensions"):
        fit_reference(embeddings("alpha", DIM))
    with pytest.raises(InputError, match="must differ"):
        fit_reference(Embeddings(np.ones((40, DIM)), [str(row) for row in range(40)], space("alpha")))
    with pytest.raises(InputError, match="sketch_rows"):
        fit_reference(embeddings("alpha", 100), sketch_rows=-1)
