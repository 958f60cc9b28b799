from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from embcompat_image import OnnxImageExtractor
from embcompat_image.onnx_image import fit_image
from numpy.typing import NDArray
from PIL import Image, ImageOps

from embcompat.errors import ExtractionError, InputError
from embcompat.testing.extractors import check_extractor

Write = Callable[..., Path]
Photos = list[NDArray[np.uint8]]


@pytest.fixture
def graph(write_image_graph: Write, tmp_path: Path) -> Path:
    return write_image_graph(tmp_path / "resnet.onnx", ("n", 3, 32, 32), half=True)


def test_it_is_an_extractor(graph: Path, photos: Photos) -> None:
    for fit in ("crop", "stretch"):
        check_extractor(OnnxImageExtractor(graph, fit=fit, batch_size=2), photos)  # type: ignore[arg-type]
    space = OnnxImageExtractor(graph).space
    assert (space.name, space.dim, space.modality, space.similarity) == ("resnet", 5, "image", "cosine")


def test_vectors_are_those_of_the_graph(
    write_image_graph: Write, image_matrix: Any, tmp_path: Path, photos: Photos
) -> None:
    path = write_image_graph(tmp_path / "m.onnx", ("n", 3, 32, 32))
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    pixels = np.stack([fit_image(photo, (32, 32), "crop") for photo in photos]) / 255
    expected = ((pixels - mean) / deviation).mean(axis=(1, 2)) @ image_matrix
    vectors = OnnxImageExtractor(path, normalize=False).extract(photos)
    np.testing.assert_allclose(vectors, expected, atol=1e-4)


def test_everything_that_changes_vectors_is_in_the_fingerprint(graph: Path) -> None:
    options: list[dict[str, Any]] = [
        {},
        {"fit": "stretch"},
        {"mean": 0},
        {"scale": (1, 2, 3)},
        {"channels": "BGR"},
        {"normalize": False},
    ]
    prints = [OnnxImageExtractor(graph, **each).space.fingerprint for each in options]
    assert all(first != second for row, first in enumerate(prints) for second in prints[:row])


@pytest.mark.parametrize("size", [(32, 32), (20, 40), (64, 16)])
def test_a_crop_keeps_the_middle(photos: Photos, size: tuple[int, int]) -> None:
    for photo in photos:
        expected = ImageOps.fit(Image.fromarray(photo), size[::-1], Image.Resampling.BICUBIC)
        crop = fit_image(photo, size, "crop")
        assert crop.shape == (*size, 3)
        # Pillow crops before it scales, and so to parts of a pixel.
        assert np.abs(crop.astype(int) - np.asarray(expected)).mean() < 12
        stretched = Image.fromarray(photo).resize(size[::-1], Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(fit_image(photo, size, "stretch"), np.asarray(stretched))


def test_an_image_of_the_right_size_stays_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    for fit in ("crop", "stretch"):
        np.testing.assert_array_equal(fit_image(image, (32, 32), fit), image)  # type: ignore[arg-type]
    line = fit_image(np.zeros((1, 500, 3), dtype=np.uint8), (32, 32), "crop")
    assert line.shape == (32, 32, 3)


def test_option_faults_are_named(graph: Path, photos: Photos) -> None:
    for options, message in (
        ({"fit": "pad"}, "fit must be 'crop' or 'stretch'. Got 'pad'"),
        ({"mean": (1, 2)}, "mean must be a finite number, or three"),
        ({"channels": "GBR"}, "channels must be 'RGB' or 'BGR'"),
        ({"size": 8}, "size must be the height and width"),
        ({"max_pixels": 0}, "max_pixels must be from 1"),
    ):
        with pytest.raises(InputError, match=message):
            OnnxImageExtractor(graph, **options)  # type: ignore[arg-type]
    with pytest.raises(ExtractionError, match="must be an RGB image. Got mode 'L'"):
        OnnxImageExtractor(graph).extract([photos[0][:, :, 0]])
