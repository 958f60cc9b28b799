"""Face models as ONNX files: FaceNet, and any other whose input is declared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from embcompat.errors import InputError
from embcompat.extractors.models import open_onnx, space_name
from embcompat.spaces import Similarity, SpaceVersion
from embcompat_face.images import MAX_PIXELS
from embcompat_face.inputs import Channels, FaceInput, Layout, Standardization, declared_size
from embcompat_face.network import FaceNetwork

BATCH_SIZE = 32
FACENET_SIZE = 160


@final
class OnnxFaceExtractor:
    """Any ONNX face model whose input is declared.

    Images are taken as face crops: nothing is detected or aligned. The fingerprint of the space covers the digest of
    the graph and everything that is done to the pixels.

    Args:
        model: The ONNX file; one that holds all its weights.
        size: Height and width of the input, or one number for both; what the graph says when None.
        layout: ``NCHW`` or ``NHWC``; what the graph says when None.
        channels: ``RGB`` or ``BGR``.
        mean: Subtracted from each pixel (0 to 255).
        scale: Multiplied with each pixel after that.
        output: Name of the graph's output (n, dim); its only one when None.
        normalize: Whether vectors are scaled to unit norm.
        similarity: How vectors of the space are compared.
        convert: Whether images that are not RGB are converted; refused otherwise. See `load_image`.
        max_pixels: Largest image that is decoded.
        batch_size: Images that go through the network together.
        name: Name of the space; made from the file name when None.
        version: Version of the space; the first 12 digits of the graph's digest when None.

    Raises:
        InputError: If the file cannot be used, or the declared input does not fit the graph.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        size: int | tuple[int, int] | None = None,
        layout: Layout | None = None,
        channels: Channels = "RGB",
        mean: float = 127.5,
        scale: float = 1 / 127.5,
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
        if channels not in ("RGB", "BGR"):
            raise InputError(f"channels must be 'RGB' or 'BGR'. Got {channels!r}.")
        opened = open_onnx(path)
        height, width, order = declared_size(opened, path, size=size, layout=layout)
        face_input = FaceInput(height, width, order, channels=channels, mean=mean, scale=scale)
        self._network = FaceNetwork(
            opened,
            path,
            face_input,
            output=output,
            normalize=normalize,
            convert=convert,
            max_pixels=max_pixels,
            batch_size=batch_size,
        )
        self._space = self._network.space(name or space_name(path.stem), version, similarity)

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
        """Embed face crops.

        Args:
            items: Paths, bytes of image files, PIL images or uint8 arrays (height, width, 3) in RGB order.

        Raises:
            ExtractionError: If an item is not a usable image; names it.
        """
        return self._network.extract(items)


@final
class FaceNetExtractor:
    """FaceNet (Schroff et al., 2015) from an ONNX file: 160 x 160 RGB face crops, vectors of unit norm.

    The weights are yours to bring; the README of embcompat-face says how to obtain and convert them. Images are taken
    as face crops: nothing is detected or aligned.

    Args:
        weights: The ONNX file; one that holds all its weights.
        standardization: What the weights were trained with: ``fixed``, (pixel − 127.5) / 128, or ``per-image`` for
            older ones. The wrong one gives vectors that look right and match badly.
        output: Name of the graph's output (n, dim); its only one when None.
        convert: Whether images that are not RGB are converted; refused otherwise. See `load_image`.
        max_pixels: Largest image that is decoded.
        batch_size: Images that go through the network together.
        version: Version of the space, for instance the date in the name of the weights; the first 12 digits of the
            graph's digest when None.

    Raises:
        InputError: If the file cannot be used, or does not take 160 x 160 images.
    """

    def __init__(
        self,
        weights: str | Path,
        *,
        standardization: Standardization = "fixed",
        output: str | None = None,
        convert: bool = False,
        max_pixels: int = MAX_PIXELS,
        batch_size: int = BATCH_SIZE,
        version: str | None = None,
    ) -> None:
        path = Path(weights)
        if standardization not in ("fixed", "per-image"):
            raise InputError(f"standardization must be 'fixed' or 'per-image'. Got {standardization!r}.")
        opened = open_onnx(path)
        height, width, layout = declared_size(opened, path, size=FACENET_SIZE, layout=None)
        face_input = FaceInput(height, width, layout, standardization=standardization, mean=127.5, scale=1 / 128)
        self._network = FaceNetwork(
            opened,
            path,
            face_input,
            output=output,
            normalize=True,
            convert=convert,
            max_pixels=max_pixels,
            batch_size=batch_size,
        )
        self._space = self._network.space("facenet", version, "euclidean")

    def __repr__(self) -> str:
        return f"FaceNetExtractor(space={self._space.id!r}, dim={self._space.dim})"

    @property
    def space(self) -> SpaceVersion:
        """The space of the vectors."""
        return self._space

    @property
    def chunk_size(self) -> int:
        """Images to hand over in one call."""
        return self._network.batch_size

    def extract(self, items: Sequence[Any]) -> NDArray[np.float32]:
        """Embed face crops; see `OnnxFaceExtractor.extract`.

        Raises:
            ExtractionError: If an item is not a usable image; names it.
        """
        return self._network.extract(items)
