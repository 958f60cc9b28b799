"""Tiny graphs stand in for face models: the mean of each channel times a matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from embcompat_face import FaceNetExtractor, OnnxFaceExtractor
from embcompat_face.inputs import FaceInput
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from embcompat.errors import ExtractionError, InputError
from embcompat.extractors import SkippedItem, extract_embeddings, load_extractor
from embcompat.testing.extractors import check_extractor

DIM = 5
MATRIX = np.random.default_rng(0).standard_normal((3, DIM)).astype(np.float32)
Shape = Sequence[int | str | None]


def write(path: Path, shape: Shape, *, axes: tuple[int, ...] = (2, 3), switch: bool = False) -> Path:
    """Write a graph from images to the means over two axes, times MATRIX; negated where the switch is on."""
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)]
    nodes = [
        helper.make_node("ReduceMean", ["image", "axes"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "matrix"], ["product"]),
    ]
    if switch:
        inputs.append(helper.make_tensor_value_info("phase_train", TensorProto.BOOL, ()))
        nodes.append(helper.make_node("Neg", ["product"], ["negative"]))
        nodes.append(helper.make_node("Where", ["phase_train", "negative", "product"], ["embedding"]))
    else:
        nodes.append(helper.make_node("Identity", ["product"], ["embedding"]))
    weights = [numpy_helper.from_array(np.array(axes), "axes"), numpy_helper.from_array(MATRIX, "matrix")]
    outputs = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, (shape[0], DIM))]
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


@pytest.fixture
def crops() -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(1)
    return [rng.integers(0, 200 + 10 * row, (8, 8, 3), dtype=np.uint8) for row in range(5)]


def unit(rows: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


# what goes in


def test_fixed_standardization_layout_and_channels() -> None:
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    plain = FaceInput(2, 4, "NHWC", mean=10, scale=0.5).prepare(image)
    np.testing.assert_allclose(plain, (image.astype(np.float64) - 10) * 0.5)
    first = FaceInput(2, 4, "NCHW", channels="BGR", mean=0, scale=1).prepare(image)
    np.testing.assert_array_equal(first, image[:, :, ::-1].transpose(2, 0, 1))
    assert first.dtype == np.float32


def test_per_image_standardization() -> None:
    image = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    prepared = FaceInput(4, 4, "NHWC", standardization="per-image").prepare(image)
    wide = image.astype(np.float64)
    np.testing.assert_allclose(prepared, (wide - wide.mean()) / wide.std(), atol=1e-5)
    # One colour has no deviation; 1/√48 stands in for it.
    flat = np.full((4, 4, 3), 7, dtype=np.uint8)
    flat[0, 0, 0] = 8
    wide = flat.astype(np.float64)
    prepared = FaceInput(4, 4, "NHWC", standardization="per-image").prepare(flat)
    np.testing.assert_allclose(prepared, (wide - wide.mean()) / max(wide.std(), 48**-0.5), atol=1e-5)
    assert not FaceInput(4, 4, "NHWC", standardization="per-image").prepare(np.full((4, 4, 3), 9, np.uint8)).any()


def test_other_sizes_are_resized() -> None:
    image = np.random.default_rng(0).integers(0, 256, (31, 17, 3), dtype=np.uint8)
    prepared = FaceInput(8, 6, "NHWC", mean=0, scale=1).prepare(image)
    np.testing.assert_array_equal(
        prepared, np.asarray(Image.fromarray(image).resize((6, 8), Image.Resampling.BILINEAR))
    )


# any model


@pytest.mark.parametrize(("shape", "axes"), [(("n", 3, 8, 8), (2, 3)), (("n", 8, 8, 3), (1, 2))])
def test_vectors_are_those_of_the_graph(
    tmp_path: Path, crops: list[NDArray[np.uint8]], shape: Shape, axes: tuple[int, int]
) -> None:
    extractor = OnnxFaceExtractor(write(tmp_path / "m.onnx", shape, axes=axes), mean=100, scale=0.25, batch_size=2)
    means = np.array([crop.mean(axis=(0, 1)) for crop in crops])
    np.testing.assert_allclose(extractor.extract(crops), unit((means - 100) * 0.25 @ MATRIX), atol=1e-5)
    check_extractor(extractor, crops)
    assert extractor.chunk_size == 2
    space = extractor.space
    assert (space.name, space.dim, space.similarity, space.normalized) == ("m", DIM, "cosine", True)


def test_a_graph_that_leaves_its_input_open_needs_it_declared(tmp_path: Path, crops: list[NDArray[np.uint8]]) -> None:
    path = write(tmp_path / "open.onnx", ("n", "c", "h", "w"))
    for options, message in (
        ({}, "layout must be 'NCHW' or 'NHWC', as the input of .*open.onnx takes it. Got None"),
        ({"layout": "CHW"}, "Got 'CHW'"),
        ({"layout": "NCHW"}, "size must be the height and width .* Got None"),
        ({"layout": "NCHW", "size": 0}, "Got 0"),
        ({"layout": "NCHW", "size": (8, 8, 3)}, r"Got \(8, 8, 3\)"),
    ):
        with pytest.raises(InputError, match=message):
            OnnxFaceExtractor(path, **options)
    check_extractor(OnnxFaceExtractor(path, layout="NCHW", size=(8, 4)), crops)


def test_what_is_declared_must_agree_with_the_graph(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", ("n", 3, 8, 8))
    with pytest.raises(InputError, match=r"size must be .* Got 9; the shape of its input is \['n', 3, 8, 8\]"):
        OnnxFaceExtractor(path, size=9)
    with pytest.raises(InputError, match="layout must be .* Got 'NHWC'"):
        OnnxFaceExtractor(path, layout="NHWC")
    with pytest.raises(InputError, match="channels must be 'RGB' or 'BGR'. Got 'GBR'"):
        OnnxFaceExtractor(path, channels="GBR")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="batch_size must be a positive integer. Got 0"):
        OnnxFaceExtractor(path, batch_size=0)
    with pytest.raises(InputError, match="output must name one float output"):
        OnnxFaceExtractor(path, output="nope")


def test_a_graph_for_one_image_at_a_time(tmp_path: Path, crops: list[NDArray[np.uint8]]) -> None:
    extractor = OnnxFaceExtractor(write(tmp_path / "one.onnx", (1, 3, 8, 8)))
    check_extractor(extractor, crops)
    assert extractor.chunk_size == 1
    with pytest.raises(InputError, match="must take any number of images, or one at a time. Got 4 at a time"):
        OnnxFaceExtractor(write(tmp_path / "four.onnx", (4, 3, 8, 8)))


def test_a_graph_that_takes_no_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must take one batch of float images, four axes. Got the inputs: image"):
        OnnxFaceExtractor(write(tmp_path / "flat.onnx", ("n", 3, 8), axes=(2,)))


def test_everything_that_changes_vectors_is_in_the_fingerprint(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", ("n", 3, 8, 8))
    options: list[dict[str, Any]] = [{}, {"mean": 0}, {"scale": 1}, {"channels": "BGR"}, {"normalize": False}]
    prints = [OnnxFaceExtractor(path, **each).space.fingerprint for each in options]
    prints.append(OnnxFaceExtractor(write(tmp_path / "n.onnx", ("n", 3, 8, 9))).space.fingerprint)
    assert all(first != second for row, first in enumerate(prints) for second in prints[:row])


# FaceNet


def test_facenet_takes_160_by_160(tmp_path: Path, crops: list[NDArray[np.uint8]]) -> None:
    extractor = load_extractor("facenet", weights=write(tmp_path / "w.onnx", ("n", 3, 160, 160)), version="test")
    assert isinstance(extractor, FaceNetExtractor)
    check_extractor(extractor, crops)
    assert extractor.space.id == "facenet@test"
    assert (extractor.space.similarity, extractor.space.normalized) == ("euclidean", True)
    sized = [np.asarray(Image.fromarray(crop).resize((160, 160), Image.Resampling.BILINEAR)) for crop in crops]
    means = np.array([crop.mean(axis=(0, 1)) for crop in sized])
    np.testing.assert_allclose(extractor.extract(crops), unit((means - 127.5) / 128 @ MATRIX), atol=1e-5)
    with pytest.raises(InputError, match="size must be the height and width .* Got 160"):
        FaceNetExtractor(write(tmp_path / "other.onnx", ("n", 3, 112, 112)))


def test_older_weights_need_per_image_standardization(tmp_path: Path, crops: list[NDArray[np.uint8]]) -> None:
    path = write(tmp_path / "w.onnx", (None, 160, 160, 3), axes=(1, 2), switch=True)
    fixed, older = FaceNetExtractor(path), FaceNetExtractor(path, standardization="per-image")
    assert [line.split(":")[0] for line in fixed.space.differences(older.space)] == ["fingerprint.input"]
    assert np.abs(fixed.extract(crops) - older.extract(crops)).max() > 0.1
    check_extractor(older, crops)
    with pytest.raises(InputError, match="standardization must be 'fixed' or 'per-image'. Got 'none'"):
        FaceNetExtractor(path, standardization="none")  # type: ignore[arg-type]


def test_a_training_switch_is_off(tmp_path: Path, crops: list[NDArray[np.uint8]]) -> None:
    plain = FaceNetExtractor(write(tmp_path / "plain.onnx", ("n", 3, 160, 160)))
    switched = FaceNetExtractor(write(tmp_path / "switch.onnx", ("n", 3, 160, 160), switch=True))
    np.testing.assert_array_equal(plain.extract(crops), switched.extract(crops))


# items that cannot be used


def test_bad_images_are_named_or_skipped_and_listed(tmp_path: Path, crops: list[NDArray[np.uint8]]) -> None:
    extractor = OnnxFaceExtractor(write(tmp_path / "m.onnx", ("n", 3, 8, 8)))
    (tmp_path / "empty.jpg").touch()
    items = [crops[0], tmp_path / "empty.jpg", crops[1][:, :, 0], b"broken", crops[2]]
    with pytest.raises(ExtractionError, match=r"item '1' \(row 1\) cannot be embedded: .*empty.jpg is empty: 0 bytes"):
        extract_embeddings(extractor, items)
    skipped: list[SkippedItem] = []
    embeddings = extract_embeddings(extractor, items, on_skip=skipped.append)
    assert embeddings.ids.tolist() == ["0", "4"]
    assert [item.row for item in skipped] == [1, 2, 3]
    converting = OnnxFaceExtractor(tmp_path / "m.onnx", convert=True)
    assert extract_embeddings(converting, items, on_skip=skipped.append).ids.tolist() == ["0", "2", "4"]
    assert converting.space == extractor.space
