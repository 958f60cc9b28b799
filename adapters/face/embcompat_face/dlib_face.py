"""dlib's face descriptor: detection, 5-point alignment and a 128-d ResNet, all from packages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from embcompat.errors import InputError, MissingExtraError
from embcompat.extractors.images import MAX_PIXELS, check_max_pixels, describe, load_image
from embcompat.extractors.models import PackagedFile
from embcompat.spaces import SpaceVersion
from embcompat_face.detection import FaceCount, Several
from embcompat_face.detectors import MODELS

DESCRIPTOR = PackagedFile(
    *MODELS,
    "face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat",
    "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
)
LANDMARKS = PackagedFile(
    *MODELS,
    "face_recognition_models/models/shape_predictor_5_face_landmarks.dat",
    "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
)

DIM = 128
CHIP_SIZE = 150
PADDING = 0.25


@final
class DlibExtractor:
    """dlib's 128-d face descriptor with 5-point alignment; no download.

    Where detection is on, the largest face in the image is taken, and an image without one is refused: skipped and
    listed, or an error, never a vector. Vectors are compared by Euclidean distance and have no unit norm.

    Args:
        detect: Whether to look for the face (dlib's frontal detector). Switched off, the whole image is taken as the
            box of the face.
        several: What is done with a photograph of several faces: ``largest`` embeds the largest, ``refuse`` refuses
            the photograph. `remarks` tells how many there were.
        upsample: How often the image is doubled before the search: 0 finds faces from about 80 pixels, 1 from 40, at
            four times the work and with more false alarms.
        convert: Whether images that are not RGB are converted; refused otherwise. See `load_image`.
        max_pixels: Largest image that is decoded.

    Raises:
        MissingExtraError: If dlib or its models are not installed.
        ExtractionError: If the models are not the known ones.
        InputError: If an option is out of range.
    """

    def __init__(
        self,
        *,
        detect: bool = True,
        several: Several = "largest",
        upsample: int = 0,
        convert: bool = False,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        if not isinstance(upsample, int) or not 0 <= upsample <= 4:
            raise InputError(f"upsample must be an integer from 0 to 4. Got {upsample!r}.")
        self._count = FaceCount(several)
        purpose = "The extractor 'dlib'"
        try:
            import dlib
        except ImportError as error:
            raise MissingExtraError("dlib", "embcompat-face[dlib]", purpose) from error
        descriptor, landmarks = DESCRIPTOR.locate(purpose=purpose), LANDMARKS.locate(purpose=purpose)
        self._dlib: Any = dlib
        self._detect, self._upsample, self._convert = detect, upsample, convert
        self._max_pixels = check_max_pixels(max_pixels)
        self._detector = dlib.get_frontal_face_detector()
        self._landmarks = dlib.shape_predictor(str(landmarks))
        self._network = dlib.face_recognition_model_v1(str(descriptor))
        self._space = SpaceVersion(
            name="dlib",
            version="resnet-v1",
            dim=DIM,
            similarity="euclidean",
            modality="face",
            fingerprint={
                "weights": f"sha256:{DESCRIPTOR.sha256}",
                "landmarks": f"sha256:{LANDMARKS.sha256}",
                "alignment": f"5 points, {CHIP_SIZE} pixels, padding {PADDING}",
                "detection": f"frontal, largest face, upsample {upsample}" if detect else "none",
                "normalize": False,
            },
        )

    def __repr__(self) -> str:
        return f"DlibExtractor(space={self._space.id!r}, detect={self._detect}, dlib={self._dlib.__version__})"

    @property
    def space(self) -> SpaceVersion:
        """The space of the vectors."""
        return self._space

    @property
    def chunk_size(self) -> int:
        """Images to hand over in one call: a second's work or so, since a face takes about a tenth."""
        return 8

    def extract(self, items: Sequence[Any]) -> NDArray[np.float32]:
        """Embed the face in each image.

        Args:
            items: Paths, bytes of image files, PIL images or uint8 arrays (height, width, 3) in RGB order.

        Raises:
            ExtractionError: If an item is not a usable image, or no face is found in it; names it.
        """
        chips = [self._align(item) for item in items]
        descriptors = self._network.compute_face_descriptor(chips) if chips else []
        return np.array(descriptors, dtype=np.float32).reshape(len(items), DIM)

    def remarks(self) -> list[str]:
        """Say how many of the images embedded so far held several faces."""
        return self._count.remarks()

    def _align(self, item: Any) -> NDArray[np.uint8]:
        image = load_image(item, convert=self._convert, max_pixels=self._max_pixels)
        if self._detect:
            faces = self._detector(image, self._upsample)
            self._count.check(image, describe(item), len(faces))
            box = max(faces, key=lambda face: face.area())
        else:
            height, width = image.shape[:2]
            box = self._dlib.rectangle(0, 0, width - 1, height - 1)
        shape = self._landmarks(image, box)
        return np.asarray(self._dlib.get_face_chip(image, shape, size=CHIP_SIZE, padding=PADDING))
