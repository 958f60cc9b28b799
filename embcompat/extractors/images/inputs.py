"""The image input of a graph: its size, layout and normalization."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from embcompat.errors import InputError
from embcompat.extractors.models import OnnxModel

Layout = Literal["NCHW", "NHWC"]
Channels = Literal["RGB", "BGR"]
Standardization = Literal["fixed", "per-image"]
PerChannel = float | tuple[float, float, float]


@dataclass(frozen=True)
class ImageInput:
    """What a graph takes.

    Attributes:
        height: Rows of the image.
        width: Columns of the image.
        layout: ``NCHW`` (channels first) or ``NHWC`` (channels last).
        channels: Order of the channels.
        standardization: ``fixed``: (pixel − mean) · scale; ``per-image``: (pixel − mean of the image) / max(its
            standard deviation, 1/√numbers), as TensorFlow's per_image_standardization.
        mean: Subtracted from each pixel (0 to 255) where fixed: one number, or three in the order red, green, blue,
            whatever ``channels`` says.
        scale: Multiplied with each pixel where fixed: one number, or three as ``mean``.
    """

    height: int
    width: int
    layout: Layout
    channels: Channels = "RGB"
    standardization: Standardization = "fixed"
    mean: PerChannel = 127.5
    scale: PerChannel = 1 / 127.5

    def prepare(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Turn an RGB image (height, width, 3) into what the graph takes.

        Example:
            >>> white = np.full((1, 2, 3), 255, dtype=np.uint8)
            >>> ImageInput(1, 2, "NCHW").prepare(white).tolist()
            [[[1.0, 1.0]], [[1.0, 1.0]], [[1.0, 1.0]]]
        """
        pixels = image.astype(np.float32)
        if self.standardization == "per-image":
            deviation = max(float(pixels.std(dtype=np.float64)), pixels.size**-0.5)
            pixels = (pixels - np.float32(pixels.mean(dtype=np.float64))) / np.float32(deviation)
        else:
            mean, scale = np.array(self.mean, np.float32), np.array(self.scale, np.float32)
            pixels = (pixels - mean) * scale
        if self.channels == "BGR":
            pixels = pixels[:, :, ::-1]
        return np.ascontiguousarray(pixels.transpose(2, 0, 1) if self.layout == "NCHW" else pixels)

    def fingerprint(self) -> dict[str, JsonValue]:
        """Return all of it as a part of a space's fingerprint."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def check_channels(channels: Channels) -> Channels:
    """Refuse an unknown order of channels.

    Raises:
        InputError: If it is neither ``RGB`` nor ``BGR``.
    """
    if channels not in ("RGB", "BGR"):
        raise InputError(f"channels must be 'RGB' or 'BGR'. Got {channels!r}.")
    return channels


def check_standardization(standardization: Standardization) -> Standardization:
    """Refuse an unknown standardization.

    Raises:
        InputError: If it is neither ``fixed`` nor ``per-image``.
    """
    if standardization not in ("fixed", "per-image"):
        raise InputError(f"standardization must be 'fixed' or 'per-image'. Got {standardization!r}.")
    return standardization


def per_channel(value: float | Sequence[float], *, what: str) -> PerChannel:
    """Return a mean or a scale as one number where it is the same for all channels, so that equal inputs are equal.

    Args:
        value: One number, or three in the order red, green, blue.
        what: Its name, for the error.

    Raises:
        InputError: If it is anything else, not finite, or a scale of 0.

    Example:
        >>> per_channel([1, 1, 1], what="scale"), per_channel((104, 117, 123), what="mean")
        (1.0, (104.0, 117.0, 123.0))
    """
    numbers: list[Any] = list(value) if isinstance(value, (list, tuple, np.ndarray)) else [value]
    usable = [
        isinstance(number, (int, float, np.number)) and not isinstance(number, bool) and math.isfinite(number)
        for number in numbers
    ]
    if len(numbers) not in (1, 3) or not all(usable) or (what == "scale" and 0 in numbers):
        example = "[0.0171, 0.0175, 0.0174]" if what == "scale" else "[123.7, 116.3, 103.5]"
        raise InputError(
            f"{what} must be a finite number{' other than 0' if what == 'scale' else ''}, or three in the order red, "
            f"green, blue ({example}). Got {value!r}."
        )
    first, *rest = (float(number) for number in numbers)
    return first if all(number == first for number in rest) else (first, rest[0], rest[1])


def declared_size(
    model: OnnxModel, path: Path, *, size: int | tuple[int, int] | None, layout: Layout | None
) -> tuple[int, int, Layout]:
    """Return height, width and layout of a graph's input: as declared where it leaves them open, else as it says.

    Raises:
        InputError: If the graph takes no image, leaves open what is not declared, or says something else.
    """
    shape = image_input(model, path).shape
    counts: dict[Layout, Any] = {"NCHW": shape[1], "NHWC": shape[3]}
    if layout is None:
        fitting = [name for name, count in counts.items() if count == 3]
    else:
        fitting = [name for name, count in counts.items() if name == layout and (count == 3 or not _fixed(count))]
    if len(fitting) != 1:
        raise InputError(
            f"layout must be 'NCHW' or 'NHWC', as the input of {path} takes it. Got {layout!r}; its shape is {shape}."
        )
    layout = fitting[0]
    stated = shape[2:4] if layout == "NCHW" else shape[1:3]
    sides = stated if size is None else (size, size) if isinstance(size, int) else tuple(size)
    fits = len(sides) == 2 and all(_fixed(side) and side > 0 for side in sides)
    if not fits or any(_fixed(side) and side != length for side, length in zip(stated, sides, strict=True)):
        raise InputError(
            f"size must be the height and width that {path} takes. Got {size!r}; the shape of its input is {shape}."
        )
    return int(sides[0]), int(sides[1]), layout


def _fixed(side: Any) -> bool:
    """Tell whether a side of a shape is a number, not a name or nothing."""
    return isinstance(side, int)


def image_input(model: OnnxModel, path: Path) -> Any:
    """Return the graph's one image input.

    Raises:
        InputError: If it has not exactly one float input with four axes; boolean inputs do not count.
    """
    inputs = model.session.get_inputs()
    images = [each for each in inputs if each.type == "tensor(float)" and len(each.shape) == 4]
    others = [each for each in inputs if each not in images and each.type != "tensor(bool)"]
    if len(images) != 1 or others:
        listed = ", ".join(f"{each.name} {each.type} {each.shape}" for each in inputs)
        raise InputError(f"{path} must take one batch of float images, four axes. Got the inputs: {listed}.")
    return images[0]
