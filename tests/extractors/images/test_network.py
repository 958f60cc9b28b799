from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from embcompat.errors import InputError
from embcompat.extractors.images import ImageInput, ImageNetwork, declared_size
from embcompat.extractors.models import open_onnx

Write = Callable[..., Path]
IMAGES = [np.random.default_rng(row).integers(0, 200 + 10 * row, (8, 8, 3), dtype=np.uint8) for row in range(5)]


def network(path: Path, *, mean: float = 0, scale: float = 1, **options: Any) -> ImageNetwork:
    model = open_onnx(path)
    height, width, layout = declared_size(model, path, size=None, layout=None)
    takes = ImageInput(height, width, layout, mean=mean, scale=scale)
    return ImageNetwork(model, path, takes, **{"normalize": False, "batch_size": 8, **options})


def means(images: list[NDArray[np.uint8]]) -> NDArray[np.float64]:
    return np.array([image.mean(axis=(0, 1)) for image in images])


@pytest.mark.parametrize(("shape", "axes"), [(("n", 3, 8, 8), (2, 3)), (("n", 8, 8, 3), (1, 2))])
def test_vectors_are_those_of_the_graph(
    write_image_graph: Write, image_matrix: Any, tmp_path: Path, shape: Any, axes: Any
) -> None:
    path = write_image_graph(tmp_path / "m.onnx", shape, axes=axes)
    expected = (means(IMAGES) - 100) * 0.25 @ image_matrix
    plain = network(path, mean=100, scale=0.25)
    np.testing.assert_allclose(plain.run(IMAGES), expected, rtol=1e-4, atol=1e-3)
    unit = network(path, mean=100, scale=0.25, normalize=True)
    np.testing.assert_allclose(unit.run(IMAGES), expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-5)
    assert (plain.dim, plain.batch_size, plain.run([]).shape) == (5, 8, (0, 5))


def test_a_flipped_vector_is_the_mean_of_image_and_mirror_image(write_image_graph: Write, tmp_path: Path) -> None:
    path = write_image_graph(tmp_path / "half.onnx", ("n", 3, 8, 8), half=True)
    plain, flipped = network(path), network(path, flip=True)
    mirrored = [np.ascontiguousarray(image[:, ::-1]) for image in IMAGES]
    expected = (plain.run(IMAGES) + plain.run(mirrored)) / 2
    assert np.abs(plain.run(IMAGES) - plain.run(mirrored)).max() > 1
    np.testing.assert_allclose(flipped.run(IMAGES), expected, rtol=1e-5)
    np.testing.assert_allclose(flipped.run(IMAGES), flipped.run(mirrored), rtol=1e-5)
    # Averaged before it is scaled: a unit vector of each would weigh both sides alike.
    unit = network(path, flip=True, normalize=True).run(IMAGES)
    np.testing.assert_allclose(unit, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-5)


def test_a_norm_beside_the_vector_is_no_vector(write_image_graph: Write, tmp_path: Path) -> None:
    path = write_image_graph(tmp_path / "norm.onnx", ("n", 3, 8, 8), norm=True)
    assert network(path).dim == 5
    assert network(path, output="norm").dim == 1
    with pytest.raises(InputError, match="output must name one float output .* Got 'nope'"):
        network(path, output="nope")


def test_a_training_switch_is_off(write_image_graph: Write, tmp_path: Path) -> None:
    plain = network(write_image_graph(tmp_path / "plain.onnx", ("n", 3, 8, 8)))
    switched = network(write_image_graph(tmp_path / "switch.onnx", ("n", 3, 8, 8), switch=True))
    np.testing.assert_array_equal(plain.run(IMAGES), switched.run(IMAGES))


def test_a_graph_takes_any_number_of_images_or_one(write_image_graph: Write, tmp_path: Path) -> None:
    assert network(write_image_graph(tmp_path / "one.onnx", (1, 3, 8, 8))).batch_size == 1
    with pytest.raises(InputError, match="must take any number of images, or one at a time. Got 4 at a time"):
        network(write_image_graph(tmp_path / "four.onnx", (4, 3, 8, 8)))
    with pytest.raises(InputError, match="batch_size must be a positive integer. Got 0"):
        network(tmp_path / "one.onnx", batch_size=0)
    with pytest.raises(InputError, match="must take one batch of float images, four axes. Got the inputs: image"):
        network(write_image_graph(tmp_path / "flat.onnx", ("n", 3, 8), axes=(2,)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "layout must be 'NCHW' or 'NHWC', as the input of .*open.onnx takes it. Got None"),
        ({"layout": "CHW"}, "Got 'CHW'"),
        ({"layout": "NCHW"}, "size must be the height and width .* Got None"),
        ({"layout": "NCHW", "size": 0}, "Got 0"),
        ({"layout": "NCHW", "size": (8, 8, 3)}, r"Got \(8, 8, 3\)"),
    ],
)
def test_a_graph_that_leaves_its_input_open_needs_it_declared(
    write_image_graph: Write, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    path = write_image_graph(tmp_path / "open.onnx", ("n", "c", "h", "w"))
    model = open_onnx(path)
    with pytest.raises(InputError, match=message):
        declared_size(model, path, **{"size": None, "layout": None, **options})
    assert declared_size(model, path, size=(8, 4), layout="NCHW") == (8, 4, "NCHW")


def test_what_is_declared_must_agree_with_the_graph(write_image_graph: Write, tmp_path: Path) -> None:
    path = write_image_graph(tmp_path / "m.onnx", ("n", 3, 8, 8))
    model = open_onnx(path)
    with pytest.raises(InputError, match=r"size must be .* Got 9; the shape of its input is \['n', 3, 8, 8\]"):
        declared_size(model, path, size=9, layout=None)
    with pytest.raises(InputError, match="layout must be .* Got 'NHWC'"):
        declared_size(model, path, size=None, layout="NHWC")
