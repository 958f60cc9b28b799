"""From an item to the face that a network is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import JsonValue

from embcompat.errors import ExtractionError, InputError
from embcompat.extractors.images import check_max_pixels, describe, load_image
from embcompat_face.alignment import align_face
from embcompat_face.detection import FaceCount, Several, open_detector


@final
class FaceReader:
    """Reads items as faces of one size: aligned, where there is a detector; else they are crops of that size already.

    Args:
        height: Rows of a face.
        width: Columns of a face.
        detector: As `open_detector` takes it; None where the items are crops.
        several: What is done with an image of several faces; see `FaceCount`.
        resize: Whether crops of another size are scaled. Their proportions must fit all the same.
        convert: Whether images that are not RGB are converted; see `load_image`.
        max_pixels: Largest image that is decoded.

    Raises:
        InputError: If an option is none of these, or faces are to be aligned for an input that is not square.
    """

    def __init__(
        self,
        height: int,
        width: int,
        *,
        detector: str | Path | None,
        several: Several,
        resize: bool,
        convert: bool,
        max_pixels: int,
    ) -> None:
        if detector is not None and height != width:
            raise InputError(f"detector aligns faces for square inputs. Got one of {height} x {width}.")
        self._size = (height, width)
        self._count = FaceCount(several)
        self._detector = None if detector is None else open_detector(detector)
        self._resize, self._convert, self._max_pixels = resize, convert, check_max_pixels(max_pixels)

    @property
    def fingerprint(self) -> JsonValue:
        """How faces are aligned."""
        return "none" if self._detector is None else {"template": "ArcFace, 5 points", **self._detector.fingerprint}

    def read(self, item: Any) -> NDArray[np.uint8]:
        """Return the face in an item, RGB (height, width, 3).

        Raises:
            ExtractionError: If the item is not a usable image, has no face, or is no crop of the right size.
        """
        image, name = load_image(item, convert=self._convert, max_pixels=self._max_pixels), describe(item)
        if self._detector is None:
            return self._crop(image, name)
        faces = self._detector.detect(image)
        self._count.check(image, name, len(faces))
        landmarks = max(faces, key=lambda face: face.area).landmarks
        if not np.isfinite(landmarks).all() or np.ptp(landmarks, axis=0).max() < 1:
            raise ExtractionError(f"the largest face in {name} has no usable landmarks. Got {landmarks.tolist()}")
        return align_face(image, landmarks, self._size[0])

    def remarks(self) -> list[str]:
        """Say how many images held several faces."""
        return self._count.remarks()

    def _crop(self, image: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
        height, width = self._size
        if image.shape[:2] == self._size:
            return image
        proportional = image.shape[0] * width == image.shape[1] * height
        if not self._resize or not proportional:
            advice = "Pass detector=… to find and align the face (--option detector=dlib, or the path of a detector)"
            if not self._resize and proportional:
                advice += ", or, if it is an aligned crop of another size, resize=True (--option resize=true)"
            raise ExtractionError(
                f"{name} must be an aligned face crop of {height} x {width} pixels. Got {image.shape[0]} x "
                f"{image.shape[1]} (height x width). {advice}"
            )
        return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
