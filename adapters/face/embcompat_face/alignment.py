"""From a face in a photograph to the crop that ArcFace models were trained on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TEMPLATE_SIZE = 112
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Where ArcFace's crops of 112 x 112 have the eyes, the tip of the nose and the corners of the mouth, left to right.

Source: Deng et al., ArcFace (2019), the points that its published code aligns to.
"""


def similarity_transform(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rotation, scale and shift that bring points nearest to others, least squares; nothing is mirrored.

    Args:
        source: Points (n, 2).
        target: Where they should be, (n, 2).

    Returns:
        Matrix (2, 3): ``target ≈ matrix[:, :2] @ source + matrix[:, 2]``.

    Source: Umeyama, Least-squares estimation of transformation parameters between two point patterns (1991), eq. 40-42.

    Example:
        >>> square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
        >>> (similarity_transform(square, 2 * square + [3, 4]).round(6) + 0.0).tolist()
        [[2.0, 0.0, 3.0], [0.0, 2.0, 4.0]]
    """
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    centred = source - source_mean
    covariance = (target - target_mean).T @ centred / len(source)
    left, singular, right = np.linalg.svd(covariance)
    signs = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    rotation = left * signs @ right
    scale = (singular @ signs) / centred.var(axis=0).sum()
    shift = target_mean - scale * rotation @ source_mean
    return np.column_stack([scale * rotation, shift])


def align_face(image: NDArray[np.uint8], landmarks: NDArray[np.float64], size: int) -> NDArray[np.uint8]:
    """Cut a face out so that its five landmarks lie where ArcFace's template has them.

    Bilinear, as in ArcFace's published code; what lies outside the image becomes black.

    Args:
        image: RGB (height, width, 3).
        landmarks: Eyes, tip of the nose, corners of the mouth, left to right in the image, (5, 2) as x and y.
        size: Side of the crop in pixels; the template is scaled to it.

    Returns:
        RGB (size, size, 3).
    """
    matrix = similarity_transform(landmarks, TEMPLATE * (size / TEMPLATE_SIZE))
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
    rows, columns = np.mgrid[:size, :size]
    x, y = inverse @ np.stack([columns.ravel(), rows.ravel(), np.ones(size * size)])
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    height, width = image.shape[:2]
    pixels = np.zeros((size * size, 3))
    for column, row in ((left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)):
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        weights = inside * (1 - np.abs(x - column)) * (1 - np.abs(y - row))
        pixels += weights[:, np.newaxis] * image[row.clip(0, height - 1), column.clip(0, width - 1)]
    return np.rint(pixels).astype(np.uint8).reshape(size, size, 3)
