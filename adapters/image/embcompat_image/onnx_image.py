"""Image models as ONNX files whose input is declared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embcompat.errors import InputError
from embcompat.extractors.images import (
    MAX_PIXELS,
    Channels,
    ImageInput,
    ImageNetwork,
    Layout,
    check_channels,
    check_max_pixels,
    declared_size,
    load_image,
    per_channel,
)
from embcompat.extractors.models import open_onnx, space_name
from embcompat.spaces import Similarity, SpaceVersion

Fit = Literal["crop", "stretch"]

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_SCALE = (1 / 58.395, 1 / 57.12, 1 / 57.375)
"""Mean and 1 / standard deviation of ImageNet's training images, 0 to 255, as torchvision publishes them."""


@final
class OnnxImageExtractor:
    """Any ONNX image model whose input is declared; no torch.

    Images are scaled with Pillow's bicubic filter. The fingerprint of the space covers the digest of the graph and
    everything that is done to the pixels.

    Args:
        model: The ONNX file; one that holds all its weights.
        fit: How an image of other proportions is fitted: ``crop`` scales the shorter side and keeps the middle,
            ``stretch`` scales both sides, as SigLIP was trained.
        size: Height and width of the input, or one number for both; what the graph says when None.
        layout: ``NCHW`` or ``NHWC``; what the graph says when None.
        channels: ``RGB`` or ``BGR``.
        mean: Subtracted from each pixel (0 to 255): one number, or three in the order red, green, blue, whatever
            ``channels`` says; ImageNet's by default.
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
    """

    def __init__(
        self,
        model: str | Path,
        *,
        fit: Fit = "crop",
        size: int | tuple[int, int] | None = None,
        layout: Layout | None = None,
        channels: Channels = "RGB",
        mean: float | Sequence[float] = IMAGENET_MEAN,
        scale: float | Sequence[float] = IMAGENET_SCALE,
        output: str | None = None,
        normalize: bool = True,
        similarity: Similarity = "cosine",
        convert: bool = False,
        max_pixels: int = MAX_PIXELS,
        batch_size: int = 16,
        name: str | None = None,
        version: str | None = None,
    ) -> None:
        if fit not in ("crop", "stretch"):
            raise InputError(f"fit must be 'crop' or 'stretch'. Got {fit!r}.")
        path = Path(model)
        check_channels(channels)
        means, scales = per_channel(mean, what="mean"), per_channel(scale, what="scale")
        opened = open_onnx(path)
        height, width, order = declared_size(opened, path, size=size, layout=layout)
        takes = ImageInput(height, width, order, channels, mean=means, scale=scales)
        self._fit, self._size, self._convert = fit, (height, width), convert
        self._max_pixels = check_max_pixels(max_pixels)
        self._network = ImageNetwork(opened, path, takes, output=output, normalize=normalize, batch_size=batch_size)
        self._space = SpaceVersion(
            name=name or space_name(path.stem),
            version=version or opened.sha256[:12],
            dim=self._network.dim,
            similarity=similarity,
            normalized=normalize,
            modality="image",
            fingerprint={**self._network.fingerprint(), "resize": "bicubic", "fit": fit},
        )

    def __repr__(self) -> str:
        return f"OnnxImageExtractor(space={self._space.id!r}, dim={self._space.dim})"

    @property
    def space(self) -> SpaceVersion:
        """The space of the vectors."""
        return self._space

    @property
    def chunk_size(self) -> int:
        """Images to hand over in one call."""
        return self._network.batch_size

    def extract(self, items: Sequence[Any]) -> NDArray[np.float32]:
        """Embed images.

        Args:
            items: Paths, bytes of image files, PIL images or uint8 arrays (height, width, 3) in RGB order.

        Raises:
            ExtractionError: If an item is not a usable image; names it.
        """
        return self._network.embed(items, self._read)

    def _read(self, item: Any) -> NDArray[np.uint8]:
        image = load_image(item, convert=self._convert, max_pixels=self._max_pixels)
        return fit_image(image, self._size, self._fit)


def fit_image(image: NDArray[np.uint8], size: tuple[int, int], fit: Fit) -> NDArray[np.uint8]:
    """Scale an RGB image to a height and width; ``crop`` keeps the middle of an image of other proportions.

    Example:
        >>> fit_image(np.zeros((20, 40, 3), dtype=np.uint8), (10, 10), "crop").shape
        (10, 10, 3)
    """
    height, width = size
    if image.shape[:2] == size:
        return image
    columns, rows = width, height
    if fit == "crop":
        ratio = max(height / image.shape[0], width / image.shape[1])
        rows, columns = max(height, round(image.shape[0] * ratio)), max(width, round(image.shape[1] * ratio))
    scaled = np.asarray(Image.fromarray(image).resize((columns, rows), Image.Resampling.BICUBIC))
    top, left = (rows - height) // 2, (columns - width) // 2
    return np.ascontiguousarray(scaled[top : top + height, left : left + width])
