from __future__ import annotations

import json

import numpy as np
import pytest

from embcompat.errors import InputError
from embcompat.evaluation.verification.figures import det_curve
from embcompat.report import count_scores, project
from embcompat.results import Histogram, Projection


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.standard_normal((80, 5)) * [5.0, 3.0, 0.5, 0.5, 0.5] + 2.0


def test_a_projection_agrees_with_the_eigenvectors_of_the_covariance(vectors: np.ndarray) -> None:
    variance, axes = np.linalg.eigh(np.cov(vectors.T))
    expected = (vectors - vectors.mean(axis=0)) @ axes[:, ::-1][:, :2]
    projection = Projection.model_validate(project(vectors, vectors, vectors, points=80))
    signs = np.sign((np.array(projection.new) * expected).sum(axis=0))
    np.testing.assert_allclose(np.array(projection.new) * signs, expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(projection.explained, variance[::-1][:2] / variance.sum(), rtol=1e-3)


def test_a_perfect_conversion_lies_on_the_new_vectors(vectors: np.ndarray) -> None:
    projection = Projection.model_validate(project(vectors[::-1], vectors, vectors, points=20, seed=3))
    assert projection.new == projection.converted
    assert projection.old is not None
    assert len(projection.new) == len(projection.old) == 20
    assert projection.old != projection.new


def test_old_vectors_of_another_dimension_are_left_out(vectors: np.ndarray) -> None:
    projection = project(vectors[:, :3], vectors, vectors)
    assert "old" not in projection
    json.dumps(projection)


def test_one_dimension_has_one_component() -> None:
    projection = Projection.model_validate(project(*[np.arange(4.0).reshape(4, 1)] * 3))
    assert projection.explained == (1.0, 0.0)
    assert {y for _, y in projection.new} == {0.0}


@pytest.mark.parametrize("shapes", [((2, 3), (2, 3), (2, 3)), ((5, 3), (4, 3), (4, 3)), ((4, 3), (4, 3), (4, 2))])
def test_a_projection_needs_the_same_items(shapes: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(InputError, match="the same 3 or more items. Got shapes"):
        project(*(np.zeros(shape) for shape in shapes))


def test_scores_are_counted_as_numpy_counts(vectors: np.ndarray) -> None:
    genuine, impostor = vectors[:, 0], vectors[:, 1] - 5
    histogram = Histogram.model_validate(count_scores("made up", genuine, impostor, threshold=1.0, bins=12))
    assert len(histogram.edges) == 13
    assert sum(histogram.genuine) == pytest.approx(1, abs=1e-3)
    assert sum(histogram.impostor) == pytest.approx(1, abs=1e-3)
    assert histogram.edges[0] == pytest.approx(min(genuine.min(), impostor.min()), rel=1e-3)
    assert (histogram.threshold, histogram.transferred) == (1.0, None)


def test_scores_must_be_there() -> None:
    with pytest.raises(InputError, match="impostor must be a list of at least one finite score"):
        count_scores("made up", [0.5], [])
    with pytest.raises(InputError, match="genuine must be"):
        count_scores("made up", [np.nan], [0.5])


def test_det_points_have_errors_of_both_kinds() -> None:
    rng = np.random.default_rng(0)
    points = np.array(det_curve(rng.normal(1, 1, 50), rng.normal(0, 1, 50)).points())
    assert (points > 0).all()
    assert (np.diff(points[:, 0]) <= 0).all()
    assert (np.diff(points[:, 1]) >= 0).all()
