"""Graphs that answer with tables laid out as SCRFD and YuNet publish theirs; dlib for real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from embcompat_face import Face, OnnxFaceExtractor, open_detector
from embcompat_face.alignment import TEMPLATE
from embcompat_face.detection import FaceCount, suppress_overlaps
from embcompat_face.detectors import DlibDetector, ScrfdDetector, YunetDetector
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from embcompat.errors import ExtractionError, InputError

SIZE = 64
STRIDES = (8, 16, 32)
Tables = dict[str, NDArray[np.float32]]


def write(path: Path, tables: Tables, shape: tuple[Any, ...] = (1, 3, SIZE, SIZE), order: Any = None) -> Path:
    """Write a graph that answers with the tables, whatever it sees, plus the mean of what it sees times zero."""
    names = list(tables) if order is None else order
    nodes = [helper.make_node("ReduceMean", ["image"], ["mean"], keepdims=0)]
    nodes.append(helper.make_node("Mul", ["mean", "zero"], ["nothing"]))
    nodes += [helper.make_node("Add", [f"table_{name}", "nothing"], [name]) for name in names]
    weights = [numpy_helper.from_array(table, f"table_{name}") for name, table in tables.items()]
    weights.append(numpy_helper.from_array(np.float32(0), "zero"))
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, tables[name].shape) for name in names]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "g", [image], outputs, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def scrfd_tables(size: int = SIZE) -> Tables:
    tables = {}
    for kind, width in (("score", 1), ("bbox", 4), ("kps", 10)):
        for stride in STRIDES:
            tables[f"{kind}_{stride}"] = np.zeros((2 * (size // stride) ** 2, width), dtype=np.float32)
    return tables


def yunet_tables(size: int = SIZE) -> Tables:
    tables = {}
    for kind, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
        for stride in STRIDES:
            tables[f"{kind}_{stride}"] = np.zeros((1, (size // stride) ** 2, width), dtype=np.float32)
    return tables


# SCRFD: distances from the cell to the four sides and to the landmarks, in strides


def test_scrfd_boxes_and_landmarks(tmp_path: Path) -> None:
    tables = scrfd_tables()
    row = 2 * (3 * 4 + 2) + 1  # stride 16: row 3, column 2, second anchor: the cell at x 32, y 48
    tables["score_16"][row] = 0.8
    tables["bbox_16"][row] = [1, 2, 0.5, 0.25]
    tables["kps_16"][row] = [-0.5, -1, 0.5, -1, 0, -0.5, -0.25, 0, 0.25, 0]
    tables["score_8"][0] = 0.49  # below the threshold
    detector = open_detector(write(tmp_path / "scrfd.onnx", tables))
    assert isinstance(detector, ScrfdDetector)
    # A photograph twice as large as the graph's input: everything is scaled back.
    (face,) = detector.detect(np.zeros((2 * SIZE, 2 * SIZE, 3), dtype=np.uint8))
    assert face.box == (32, 32, 80, 104)
    assert face.score == pytest.approx(0.8)
    assert face.landmarks.tolist() == [[48, 64], [80, 64], [64, 80], [56, 96], [72, 96]]
    # A wide one fills the width alone.
    (face,) = detector.detect(np.zeros((SIZE, 4 * SIZE, 3), dtype=np.uint8))
    assert face.box == (64, 64, 160, 208)


def test_scrfd_keeps_the_surest_of_overlapping_boxes(tmp_path: Path) -> None:
    tables = scrfd_tables()
    for row, score in ((0, 0.6), (1, 0.9), (63, 0.7)):  # two anchors of one cell, and one elsewhere
        tables["score_8"][row], tables["bbox_8"][row] = score, [0, 0, 2, 2]
    detector = open_detector(write(tmp_path / "scrfd.onnx", tables))
    faces = detector.detect(np.zeros((SIZE, SIZE, 3), dtype=np.uint8))
    assert [face.score for face in faces] == pytest.approx([0.9, 0.7])


def test_scrfd_with_an_open_input_sees_640(tmp_path: Path) -> None:
    path = write(tmp_path / "open.onnx", scrfd_tables(640), shape=(1, 3, "?", "?"))
    assert open_detector(path).fingerprint["size"] == [640, 640]


def test_scrfd_sees_rgb_about_zero(tmp_path: Path) -> None:
    """The graph's score is what it sees of one channel, so the decoder's input is read off the score."""
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 3, SIZE, SIZE))
    tables = scrfd_tables()
    nodes = [helper.make_node("ReduceMean", ["image", "axes"], ["channels"], keepdims=0)]
    nodes.append(helper.make_node("Gather", ["channels", "red"], ["mean"], axis=1))
    nodes += [helper.make_node("Add", [f"table_{name}", "mean"], [name]) for name in tables]
    weights = [numpy_helper.from_array(table, f"table_{name}") for name, table in tables.items()]
    weights += [numpy_helper.from_array(np.array([2, 3]), "axes"), numpy_helper.from_array(np.array([0]), "red")]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, table.shape) for name, table in tables.items()]
    graph = helper.make_graph(nodes, "g", [image], outputs, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), tmp_path / "s.onnx")
    photo = np.zeros((SIZE, SIZE, 3), dtype=np.uint8)
    photo[..., 0] = 255
    face, *_ = open_detector(tmp_path / "s.onnx").detect(photo)
    assert face.score == pytest.approx((255 - 127.5) / 128)


# YuNet: the centre from the cell and the logarithm of the sides, in strides


def test_yunet_boxes_and_landmarks(tmp_path: Path) -> None:
    tables = yunet_tables()
    row = 1 * 2 + 0  # stride 32: row 1, column 0
    tables["cls_32"][0, row], tables["obj_32"][0, row] = 0.98, 1.3  # clipped to 1
    tables["bbox_32"][0, row] = [0.5, -0.25, np.log(0.5), np.log(1.5)]
    tables["kps_32"][0, row] = [0.25, -0.5, 0.75, -0.5, 0.5, -0.25, 0.25, 0, 0.75, 0]
    tables["cls_8"][0, 0], tables["obj_8"][0, 0] = 0.9, 0.88  # the root of the product is below the threshold
    # The outputs are found by their names, whatever their order.
    detector = open_detector(write(tmp_path / "yunet.onnx", tables, order=sorted(tables)))
    assert isinstance(detector, YunetDetector)
    (face,) = detector.detect(np.zeros((SIZE, SIZE, 3), dtype=np.uint8))
    assert face.score == pytest.approx(0.98**0.5)
    assert face.box == pytest.approx((8, 0, 24, 48))
    assert face.landmarks == pytest.approx(np.array([[8, 16], [24, 16], [16, 24], [8, 32], [24, 32]]))


def test_yunet_aligns_the_face_for_a_model(write_image_graph: Any, tmp_path: Path) -> None:
    tables, photo = yunet_tables(), np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    tables["cls_8"][0, 9] = tables["obj_8"][0, 9] = 1
    tables["kps_8"][0, 9] = ((TEMPLATE / 2 - 8) / 8).ravel()  # the template at half its size, from the cell at (8, 8)
    detector = write(tmp_path / "yunet.onnx", tables)
    model = write_image_graph(tmp_path / "m.onnx", ("n", 3, 56, 56), half=True)
    aligned = OnnxFaceExtractor(model, detector=detector).extract([photo])
    np.testing.assert_allclose(aligned, OnnxFaceExtractor(model).extract([photo[:56, :56]]), atol=1e-3)


def test_landmarks_in_one_point_align_nothing(write_image_graph: Any, tmp_path: Path) -> None:
    tables = yunet_tables()
    tables["cls_8"][0, 9] = tables["obj_8"][0, 9] = 1
    model = write_image_graph(tmp_path / "m.onnx", ("n", 3, 56, 56))
    extractor = OnnxFaceExtractor(model, detector=write(tmp_path / "yunet.onnx", tables))
    with pytest.raises(ExtractionError, match=r"the largest face in an array .* has no usable landmarks. Got \[\[8"):
        extractor.extract([np.zeros((SIZE, SIZE, 3), dtype=np.uint8)])


# other graphs


def test_other_graphs_are_refused(tmp_path: Path) -> None:
    tables = scrfd_tables()
    boxes_only = {name: table for name, table in tables.items() if not name.startswith("kps")}
    with pytest.raises(InputError, match=r"must be an SCRFD detector with landmarks, 9 outputs, or YuNet, 12. Got 6"):
        open_detector(write(tmp_path / "boxes.onnx", boxes_only))
    odd = {**tables, "score_8": tables["score_8"][:5]}
    with pytest.raises(InputError, match=r"must have the outputs of SCRFD with landmarks: \[\(128, 1\), .*Got \[\(5, "):
        open_detector(write(tmp_path / "odd.onnx", odd))
    lacking = {name: table for name, table in yunet_tables().items() if name != "kps_8"}
    with pytest.raises(InputError, match="must have the outputs of YuNet. It lacks kps_8"):
        open_detector(write(tmp_path / "lacking.onnx", lacking))
    with pytest.raises(InputError, match="mtcnn does not exist. Pass the path of an ONNX file"):
        open_detector("mtcnn")


def test_fingerprints_tell_detectors_apart(tmp_path: Path) -> None:
    paths = [write(tmp_path / "s.onnx", scrfd_tables()), write(tmp_path / "y.onnx", yunet_tables())]
    prints = [open_detector(each).fingerprint for each in (Path("dlib"), *paths)]
    assert all(first != second for row, first in enumerate(prints) for second in prints[:row])


# dlib


def test_dlib_finds_the_face_and_its_landmarks(astronaut: NDArray[np.uint8]) -> None:
    detector = open_detector("dlib")
    assert isinstance(detector, DlibDetector)
    (face,) = detector.detect(astronaut)
    left, top, right, bottom = face.box
    assert ((face.landmarks > [left, top]) & (face.landmarks < [right, bottom])).all()
    left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])
    assert detector.detect(np.zeros((100, 100, 3), dtype=np.uint8)) == []


# faces


def face(box: tuple[float, float, float, float], score: float) -> Face:
    return Face(box, score, np.zeros((5, 2)))


def test_overlaps_are_those_of_the_naive_loop() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 100, (60, 2))
    boxes = np.hstack([corners, corners + rng.uniform(5, 50, (60, 2))]).tolist()
    faces = [face(tuple(box), score) for box, score in zip(boxes, rng.uniform(size=60).tolist(), strict=True)]
    survivors: list[Face] = []
    for candidate in sorted(faces, key=lambda each: -each.score):
        if all(shared_part(candidate.box, other.box) <= 0.3 for other in survivors):
            survivors.append(candidate)
    assert 1 < len(survivors) < 60
    assert [each.score for each in suppress_overlaps(faces, 0.3)] == [each.score for each in survivors]
    assert suppress_overlaps([], 0.3) == []


def shared_part(one: Any, other: Any) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return float(shared / (sum(areas) - shared))


def test_images_of_several_faces_are_listed_once() -> None:
    count = FaceCount("largest")
    for row in range(5):
        for _ in range(2):
            count.check(np.full((2, 2, 3), row, dtype=np.uint8), f"{row}.png", row or 1)
    assert count.remarks()[0].startswith(
        "3 images hold several faces, 9 in all, and the largest is embedded: 2.png (2), 3.png (3), 4.png (4). Pass"
    )
    with pytest.raises(ExtractionError, match="no face found in a.png"):
        count.check(np.zeros((2, 2, 3), dtype=np.uint8), "a.png", 0)
