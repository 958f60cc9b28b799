"""What a face model takes, and images made into it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embcompat.errors import InputError
from embcompat.extractors.models import OnnxModel

Layout = Literal["NCHW", "NHWC"]
Channels = Literal["RGB", "BGR"]
Standardization = Literal["fixed", "per-image"]


@dataclass(frozen=True)
class FaceInput:
    """What a face model takes.

    Attributes:
        height: Rows of the image.
        width: Columns of the image.
        layout: ``NCHW`` (channels first) or ``NHWC`` (channels last).
        channels: Order of the channels.
        standardization: ``fixed``: (pixel − mean) · scale; ``per-image``: (pixel − mean of the image) / max(its
            standard deviation, 1/√numbers), as TensorFlow's per_image_standardization.
        mean: Subtracted from each pixel (0 to 255) where fixed.
        scale: Multiplied with each pixel where fixed.
    """

    height: int
    width: int
    layout: Layout
    channels: Channels = "RGB"
    standardization: Standardization = "fixed"
    mean: float = 127.5
    scale: float = 1 / 127.5

    def prepare(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Turn an RGB image of any size into what the model takes; other proportions are stretched.

        Example:
            >>> grey = np.full((8, 8, 3), 255, dtype=np.uint8)
            >>> FaceInput(2, 2, "NCHW").prepare(grey).tolist()
            [[[1.0, 1.0], [1.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]]]
        """
        if image.shape[:2] != (self.height, self.width):
            resized = Image.fromarray(image).resize((self.width, self.height), Image.Resampling.BILINEAR)
            image = np.asarray(resized)
        pixels = image.astype(np.float32)
        if self.standardization == "per-image":
            deviation = max(float(pixels.std(dtype=np.float64)), pixels.size**-0.5)
            pixels = (pixels - np.float32(pixels.mean(dtype=np.float64))) / np.float32(deviation)
        else:
            pixels = (pixels - np.float32(self.mean)) * np.float32(self.scale)
        if self.channels == "BGR":
            pixels = pixels[:, :, ::-1]
        return np.ascontiguousarray(pixels.transpose(2, 0, 1) if self.layout == "NCHW" else pixels)


def declared_size(
    model: OnnxModel, path: Path, *, size: int | tuple[int, int] | None, layout: Layout | None
) -> tuple[int, int, Layout]:
    """Return height, width and layout of a graph's input: as declared where it leaves them open, else as it says.

    Raises:
        InputError: If the graph takes no image, leaves open what is not declared, or says something else.
    """
    shape = image_input(model, path).shape
    channels: dict[Layout, Any] = {"NCHW": shape[1], "NHWC": shape[3]}
    if layout is None:
        fitting = [name for name, count in channels.items() if count == 3]
    else:
        fitting = [name for name, count in channels.items() if name == layout and (count == 3 or not _fixed(count))]
    if len(fitting) != 1:
        raise InputError(
            f"layout must be 'NCHW' or 'NHWC', as the input of {path} takes it. Got {layout!r}; its shape is {shape}."
        )
    layout = fitting[0]
    stated = shape[2:4] if layout == "NCHW" else shape[1:3]
    chosen_size = stated if size is None else (size, size) if isinstance(size, int) else tuple(size)
    fits = len(chosen_size) == 2 and all(_fixed(side) and side > 0 for side in chosen_size)
    if not fits or any(_fixed(side) and side != length for side, length in zip(stated, chosen_size, strict=True)):
        raise InputError(
            f"size must be the height and width that {path} takes. Got {size!r}; the shape of its input is {shape}."
        )
    return int(chosen_size[0]), int(chosen_size[1]), layout


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
