from __future__ import annotations

import numpy as np
import pytest
from embcompat_face.alignment import TEMPLATE, align_face, similarity_transform
from numpy.typing import NDArray
from skimage.transform import SimilarityTransform, warp


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_similarity_of_another_library(seed: int) -> None:
    rng = np.random.default_rng(seed)
    source, target = rng.normal(size=(5, 2)) * 50, rng.normal(size=(5, 2)) * 20
    expected = SimilarityTransform.from_estimate(source, target)
    np.testing.assert_allclose(similarity_transform(source, target), expected.params[:2], atol=1e-9)


def test_a_known_similarity_is_recovered_and_a_mirror_image_is_not() -> None:
    rng = np.random.default_rng(0)
    points, angle = rng.normal(size=(5, 2)), 0.3
    turn = 1.7 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = similarity_transform(points, points @ turn.T + [5, -3])
    np.testing.assert_allclose(matrix, np.column_stack([turn, [5, -3]]), atol=1e-12)
    mirrored = similarity_transform(points, points * [-1, 1])
    assert np.linalg.det(mirrored[:, :2]) > 0


def test_an_aligned_face_stays_as_it_is(astronaut: NDArray[np.uint8]) -> None:
    crop = np.ascontiguousarray(astronaut[60:172, 170:282])
    np.testing.assert_array_equal(align_face(crop, TEMPLATE, 112), crop)


@pytest.mark.parametrize("size", [112, 224])
def test_pixels_are_those_of_another_library(astronaut: NDArray[np.uint8], size: int) -> None:
    landmarks = np.array([[205.0, 118.0], [238.0, 108.0], [228.0, 130.0], [214.0, 150.0], [244.0, 142.0]])
    transform = SimilarityTransform.from_estimate(landmarks, TEMPLATE * size / 112)
    expected = warp(astronaut, transform.inverse, output_shape=(size, size), order=1, preserve_range=True)
    crop = align_face(astronaut, landmarks, size)
    assert crop.shape == (size, size, 3)
    assert np.abs(crop - expected).max() <= 0.501


def test_what_lies_outside_is_black() -> None:
    white = np.full((50, 50, 3), 255, dtype=np.uint8)
    crop = align_face(white, TEMPLATE - 60, 112)
    assert (crop[:55, :55] == 0).all()
    assert (crop[65:105, 65:105] == 255).all()
