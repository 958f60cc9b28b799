"""Face models as ONNX files whose input is declared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from embcompat.extractors.images import (
    MAX_PIXELS,
    Channels,
    ImageInput,
    ImageNetwork,
    Layout,
    Standardization,
    check_channels,
    check_standardization,
    declared_size,
    per_channel,
)
from embcompat.extractors.models import open_onnx, space_name
from embcompat.spaces import Similarity, SpaceVersion
from embcompat_face.detection import Several
from embcompat_face.faces import FaceReader

BATCH_SIZE = 32


@final
class OnnxFaceExtractor:
    """Any ONNX face model whose input is declared.

    With a detector, the largest face of each photograph is aligned to ArcFace's template. Without one, items are
    aligned face crops of the model's size. The fingerprint of the space covers the digests of the graph and of the
    detector and everything that is done to the pixels.

    Args:
        model: The ONNX file; one that holds all its weights.
        detector: What finds and aligns faces: ``dlib``, or the ONNX file of an SCRFD or YuNet detector.
        several: What is done with a photograph of several faces: ``largest`` embeds the largest, ``refuse`` refuses
            the photograph. `remarks` tells how many there were.
        resize: Whether crops of another size are scaled, where there is no detector. Crops of other proportions are
            refused all the same.
        flip: Whether the vector is the mean of the face's and its mirror image's.
        size: Height and width of the input, or one number for both; what the graph says when None.
        layout: ``NCHW`` or ``NHWC``; what the graph says when None.
        channels: ``RGB`` or ``BGR``.
        standardization: ``fixed``: (pixel − mean) · scale; ``per-image``: each image by its own mean and deviation.
        mean: Subtracted from each pixel (0 to 255): one number, or three in the order red, green, blue, whatever
            ``channels`` says.
        scale: Multiplied with each pixel after that: one number, or three as ``mean``.
        output: Name of the graph's output (n, dim); its only one when None.
        normalize: Whether vectors are scaled to unit norm.
        similarity: How vectors of the space are compared.
        convert: Whether images that are not RGB are converted; refused otherwise. See `load_image`.
        max_pixels: Largest image that is decoded.
        batch_size: Images that go through the network together.
        name: Name of the space; made from the file name when None.
        version: Version of the space; the first 12 digits of the graph's digest when None.

    Raises:
        InputError: If the file cannot be used, or an option does not fit the graph.
        MissingExtraError: If ``detector`` is ``dlib`` and dlib is not installed.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        detector: str | Path | None = None,
        several: Several = "largest",
        resize: bool = False,
        flip: bool = False,
        size: int | tuple[int, int] | None = None,
        layout: Layout | None = None,
        channels: Channels = "RGB",
        standardization: Standardization = "fixed",
        mean: float | Sequence[float] = 127.5,
        scale: float | Sequence[float] = 1 / 127.5,
        output: str | None = None,
        normalize: bool = True,
        similarity: Similarity = "cosine",
        convert: bool = False,
        max_pixels: int = MAX_PIXELS,
        batch_size: int = BATCH_SIZE,
        name: str | None = None,
        version: str | None = None,
    ) -> None:
        path = Path(model)
        check_channels(channels)
        check_standardization(standardization)
        means, scales = per_channel(mean, what="mean"), per_channel(scale, what="scale")
        opened = open_onnx(path)
        height, width, order = declared_size(opened, path, size=size, layout=layout)
        takes = ImageInput(height, width, order, channels, standardization, means, scales)
        self._network = ImageNetwork(
            opened, path, takes, output=output, normalize=normalize, flip=flip, batch_size=batch_size
        )
        self._reader = FaceReader(
            height,
            width,
            detector=detector,
            several=several,
            resize=resize,
            convert=convert,
            max_pixels=max_pixels,
        )
        self._space = SpaceVersion(
            name=name or space_name(path.stem),
            version=version or opened.sha256[:12],
            dim=self._network.dim,
            similarity=similarity,
            normalized=normalize,
            modality="face",
            fingerprint={
                **self._network.fingerprint(),
                "resize": "bilinear",
                "alignment": self._reader.fingerprint,
            },
        )

    def __repr__(self) -> str:
        return f"OnnxFaceExtractor(space={self._space.id!r}, dim={self._space.dim})"

    @property
    def space(self) -> SpaceVersion:
        """The space of the vectors."""
        return self._space

    @property
    def chunk_size(self) -> int:
        """Images to hand over in one call."""
        return self._network.batch_size

    def extract(self, items: Sequence[Any]) -> NDArray[np.float32]:
        """Embed faces.

        Args:
            items: Paths, bytes of image files, PIL images or uint8 arrays (height, width, 3) in RGB order.

        Raises:
            ExtractionError: If an item is not a usable image, no face is found in it, or it is no crop of the right
                size; names it.
        """
        return self._network.embed(items, self._reader.read)

    def remarks(self) -> list[str]:
        """Say how many of the images embedded so far held several faces."""
        return self._reader.remarks()
