"""Presets on graphs that stand in for the published ones: what reaches the network is what it was trained on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from embcompat_face import OnnxFaceExtractor, facenet
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from embcompat.errors import ExtractionError, InputError
from embcompat.extractors import load_extractor
from embcompat.testing.extractors import check_extractor

Write = Callable[..., Path]
Photo = NDArray[np.uint8]


@pytest.fixture(scope="module")
def crops() -> list[Photo]:
    rng = np.random.default_rng(1)
    return [rng.integers(0, 200 + 10 * row, (112, 112, 3), dtype=np.uint8) for row in range(3)]


def expected(crops: list[Photo], matrix: Any, mean: float, scale: float, *, bgr: bool = False) -> NDArray[Any]:
    means = np.array([crop.mean(axis=(0, 1)) for crop in crops])
    rows = (means[:, ::-1] if bgr else means) * scale - mean * scale
    vectors = rows @ matrix
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


@pytest.mark.parametrize(
    ("name", "mean", "scale", "bgr"),
    [("insightface", 127.5, 1 / 127.5, False), ("adaface", 127.5, 1 / 127.5, True), ("sface", 0, 1, False)],
)
def test_a_preset_knows_the_input(
    write_image_graph: Write,
    image_matrix: Any,
    tmp_path: Path,
    crops: list[Photo],
    name: str,
    mean: float,
    scale: float,
    bgr: bool,
) -> None:
    path = write_image_graph(tmp_path / "w600k_r50.onnx", ("n", 3, 112, 112), norm=name == "adaface")
    extractor = load_extractor(name, path)
    assert isinstance(extractor, OnnxFaceExtractor)
    check_extractor(extractor, crops)
    np.testing.assert_allclose(extractor.extract(crops), expected(crops, image_matrix, mean, scale, bgr=bgr), atol=1e-4)
    assert (extractor.space.name, extractor.space.similarity) == ("w600k_r50", "cosine")
    with pytest.raises(ExtractionError, match="must be an aligned face crop of 112 x 112 pixels. Got 100 x 150"):
        extractor.extract([np.zeros((100, 150, 3), dtype=np.uint8)])
    with pytest.raises(InputError, match="size must be the height and width .* Got 112"):
        load_extractor(name, write_image_graph(tmp_path / "other.onnx", ("n", 3, 160, 160)))


def test_insightface_leaves_alone_what_the_graph_standardizes(
    write_image_graph: Write, image_matrix: Any, tmp_path: Path, crops: list[Photo]
) -> None:
    nodes = [
        helper.make_node("Constant", [], ["mean"], value_float=127.5),
        helper.make_node("Constant", [], ["scale"], value_float=0.0078125),
        helper.make_node("Sub", ["image", "mean"], ["centred"]),
        helper.make_node("Mul", ["centred", "scale"], ["scaled"]),
    ]
    path = write_image_graph(tmp_path / "mxnet.onnx", ("n", 3, 112, 112), before=nodes)
    vectors = load_extractor("insightface", path).extract(crops)
    np.testing.assert_allclose(vectors, expected(crops, image_matrix, 127.5, 1 / 128), atol=1e-4)


def test_a_preset_aligns_photographs(write_image_graph: Write, tmp_path: Path, astronaut: Photo) -> None:
    path = write_image_graph(tmp_path / "m.onnx", ("n", 3, 112, 112), half=True)
    for name in ("insightface", "adaface", "sface"):
        extractor = load_extractor(name, path, detector="dlib", flip=True, several="refuse")
        assert extractor.extract([astronaut[:256, 96:352]]).shape == (1, 5)


@pytest.mark.parametrize("suffix", [".h5", ".keras", ".pb", ".pth"])
def test_what_is_not_onnx_yet_is_to_be_converted(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"facenet{suffix}").write_bytes(b"\x89HDF")
    for name in ("facenet", "insightface", "onnx-face"):
        with pytest.raises(InputError, match="is not an ONNX model. Convert it first: the README of embcompat-face"):
            load_extractor(name, tmp_path / f"facenet{suffix}")


# FaceNet


class Writer:
    """Writes Inception-ResNet v1 with few channels (Szegedy et al., 2016, figures 3, 7, 10 to 13)."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def add(self, operator: str, inputs: list[str], **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def conv(
        self, source: str, count: int, out: int, sides: tuple[int, int] = (1, 1), stride: int = 1, relu: bool = True
    ) -> str:
        kernel = self.rng.normal(size=(out, count, *sides)) / (count * sides[0] * sides[1]) ** 0.5
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(kernel.astype(np.float32), name))
        pads = [0 if stride == 2 else side // 2 for side in sides] * 2
        result = self.add("Conv", [source, name], strides=[stride, stride], pads=pads)
        return self.add("Relu", [result]) if relu else result

    def pool(self, source: str) -> str:
        return self.add("MaxPool", [source], kernel_shape=[3, 3], strides=[2, 2])

    def block(self, source: str, count: int, branches: list[list[tuple[int, int]]]) -> str:
        ends = []
        for branch in branches:
            end, width = source, count
            for sides in branch:
                end, width = self.conv(end, width, 2, sides), 2
            ends.append(end)
        joined = self.add("Concat", ends, axis=1)
        return self.add("Relu", [self.add("Add", [source, self.conv(joined, 2 * len(ends), count, relu=False)])])

    def reduction(self, source: str, count: int, branches: list[list[tuple[int, int]]]) -> tuple[str, int]:
        ends = [self.pool(source)]
        for branch in branches:
            end, width = source, count
            for sides in branch[:-1]:
                end, width = self.conv(end, width, 2, sides), 2
            ends.append(self.conv(end, width, 2, branch[-1], stride=2))
        return self.add("Concat", ends, axis=1), count + 2 * len(branches)


def write_facenet(path: Path, *, blocks: int = 5, size: int = 160, seed: int = 0) -> Path:
    one, three, row, column, line, pillar = (1, 1), (3, 3), (1, 7), (7, 1), (1, 3), (3, 1)
    writer = Writer(seed)
    end = writer.conv("image", 3, 3, three, stride=2)
    end = writer.pool(writer.conv(writer.conv(end, 3, 3, three), 3, 3, three))
    end = writer.conv(writer.conv(writer.conv(end, 3, 3), 3, 3, three), 3, 4, three, stride=2)
    for _ in range(blocks):
        end = writer.block(end, 4, [[one], [one, three], [one, three, three]])
    end, width = writer.reduction(end, 4, [[three], [one, three, three]])
    for _ in range(10):
        end = writer.block(end, width, [[one], [one, row, column]])
    end, width = writer.reduction(end, width, [[one, three], [one, three], [one, three, three]])
    for _ in range(6):
        end = writer.block(end, width, [[one], [one, line, pillar]])
    end = writer.add("Flatten", [writer.add("GlobalAveragePool", [end])])
    matrix = writer.rng.normal(size=(width, 8)).astype(np.float32)
    writer.weights.append(numpy_helper.from_array(matrix, "last"))
    writer.nodes.append(helper.make_node("MatMul", [end, "last"], ["embedding"]))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ("n", 3, size, size))
    output = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ("n", 8))
    graph = helper.make_graph(writer.nodes, "g", [image], [output], writer.weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


@pytest.fixture(scope="module")
def faces() -> list[Photo]:
    rng = np.random.default_rng(2)
    return [rng.integers(0, 200 + 10 * row, (160, 160, 3), dtype=np.uint8) for row in range(3)]


def test_facenet_takes_160_by_160(tmp_path: Path, faces: list[Photo]) -> None:
    path = write_facenet(tmp_path / "w.onnx")
    extractor = load_extractor("facenet", weights=path, version="test")
    check_extractor(extractor, faces)
    assert extractor.space.id == "facenet@test"
    assert (extractor.space.similarity, extractor.space.normalized) == ("euclidean", True)
    same = OnnxFaceExtractor(path, mean=127.5, scale=1 / 128)
    np.testing.assert_array_equal(extractor.extract(faces), same.extract(faces))
    with pytest.raises(ExtractionError, match="must be an aligned face crop of 160 x 160 pixels. Got 250 x 250"):
        extractor.extract([np.zeros((250, 250, 3), dtype=np.uint8)])
    assert facenet(path, resize=True).extract([np.zeros((250, 250, 3), dtype=np.uint8)]).shape == (1, 8)


def test_what_is_no_facenet_is_refused(write_image_graph: Write, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must be a FaceNet: Inception-ResNet v1, 132 convolutions. Got 0. Use the"):
        facenet(write_image_graph(tmp_path / "m.onnx", ("n", 3, 160, 160)))
    with pytest.raises(InputError, match="132 convolutions. Got 125"):
        facenet(write_facenet(tmp_path / "short.onnx", blocks=4))
    with pytest.raises(InputError, match="size must be the height and width .* Got 160"):
        facenet(write_facenet(tmp_path / "small.onnx", size=112))


def test_older_weights_need_per_image_standardization(tmp_path: Path, faces: list[Photo]) -> None:
    path = write_facenet(tmp_path / "w.onnx")
    fixed, older = facenet(path), facenet(path, standardization="per-image")
    assert [line.split(":")[0] for line in fixed.space.differences(older.space)] == ["fingerprint.input"]
    assert np.abs(fixed.extract(faces) - older.extract(faces)).max() > 1e-3
    with pytest.raises(InputError, match="standardization must be 'fixed' or 'per-image'. Got 'none'"):
        facenet(path, standardization="none")  # type: ignore[arg-type]
