"""Faces in a photograph: what detectors find, and which face is embedded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Literal, Protocol, final

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from embcompat.errors import ExtractionError, InputError

Several = Literal["largest", "refuse"]
"""What is done with a photograph of several faces."""

_LISTED = 3


@dataclass(frozen=True)
class Face:
    """A face that a detector found.

    Attributes:
        box: Left, top, right, bottom, in pixels.
        score: How sure the detector is, larger is surer; in its own unit.
        landmarks: Eyes, tip of the nose, corners of the mouth, left to right in the image, (5, 2) as x and y.
    """

    box: tuple[float, float, float, float]
    score: float
    landmarks: NDArray[np.float64]

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])


class FaceDetector(Protocol):
    """A model that finds faces and their landmarks."""

    @property
    def fingerprint(self) -> dict[str, JsonValue]:
        """Whatever changes the landmarks."""

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        """Return the faces in an RGB image (height, width, 3)."""


def open_detector(detector: str | Path) -> FaceDetector:
    """Open a detector by its name or by the path of its graph.

    Args:
        detector: ``dlib``, or the ONNX file of an SCRFD or YuNet model, which its outputs tell apart.

    Raises:
        InputError: If the file is no such graph.
        MissingExtraError: If dlib or its models are not installed.
    """
    from embcompat.extractors.models import open_onnx
    from embcompat_face.detectors import DlibDetector, ScrfdDetector, YunetDetector

    if str(detector) == "dlib":
        return DlibDetector()
    path = Path(detector)
    model = open_onnx(path)
    names = {str(output.name) for output in model.session.get_outputs()}
    return YunetDetector(model, path) if "obj_8" in names else ScrfdDetector(model, path)


def suppress_overlaps(faces: Sequence[Face], overlap: float) -> list[Face]:
    """Drop each face that shares more than a part of its area with a surer one; the surest comes first.

    Args:
        faces: The faces.
        overlap: Largest intersection over union that two faces may have.
    """
    if not faces:
        return []
    boxes = np.array([face.box for face in faces])
    areas = np.array([face.area for face in faces])
    order = np.argsort([-face.score for face in faces], kind="stable")
    survivors = []
    while len(order):
        best, order = order[0], order[1:]
        survivors.append(faces[best])
        lower = np.maximum(boxes[best, :2], boxes[order, :2])
        upper = np.minimum(boxes[best, 2:], boxes[order, 2:])
        shared = np.clip(upper - lower, 0, None).prod(axis=1)
        order = order[shared <= overlap * (areas[best] + areas[order] - shared)]
    return survivors


@final
class FaceCount:
    """How many faces each photograph holds, and what is done where there are several.

    Args:
        several: ``largest`` embeds the largest face, ``refuse`` refuses the photograph.

    Raises:
        InputError: If it is neither.
    """

    def __init__(self, several: Several) -> None:
        if several not in ("largest", "refuse"):
            raise InputError(f"several must be 'largest' or 'refuse'. Got {several!r}.")
        self._several = several
        self._crowds: dict[bytes, tuple[str, int]] = {}

    def check(self, image: NDArray[np.uint8], name: str, count: int) -> None:
        """Take note of a photograph's faces.

        Raises:
            ExtractionError: If there is none, or there are several and those are refused.
        """
        if count == 0:
            raise ExtractionError(f"no face found in {name}")
        if count == 1:
            return
        if self._several == "refuse":
            raise ExtractionError(f"{count} faces found in {name}, where several='refuse' allows one")
        # By content: a photograph is read again when one beside it cannot be embedded.
        self._crowds[blake2b(image.tobytes(), digest_size=16).digest()] = (name, count)

    def remarks(self) -> list[str]:
        """Say how many photographs held several faces; nothing where none did."""
        if not self._crowds:
            return []
        counts = list(self._crowds.values())
        listed = ", ".join(f"{name} ({count})" for name, count in counts[:_LISTED])
        more = "" if len(counts) <= _LISTED else ", …"
        images = "1 image holds" if len(counts) == 1 else f"{len(counts):,} images hold"
        return [
            f"{images} several faces, {sum(count for _, count in counts):,} in all, and the largest is embedded: "
            f"{listed}{more}. Pass several='refuse' (--option several=refuse) to leave such images out."
        ]
