"""Images from paths, bytes, arrays and PIL, as RGB arrays; what cannot be used is refused by name.

Pillow is imported where an image is read: the packages that bring image models depend on it, embcompat itself does not.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embcompat.errors import ExtractionError, InputError

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 50_000_000
"""Largest image that is decoded unless told otherwise: 50 megapixels, 150 MB as RGB [ours]."""

_PILLOW_PIXELS = 178_956_970
"""Pillow itself opens no larger image; that limit belongs to the whole process, so it is left alone."""

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
"""Bytes 8 to 12 of a HEIF file (ISO/IEC 23008-12)."""

_ORIENTATION = 0x0112

_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
"""EXIF orientation → what turns the image upright (CIPA DC-008, Exif 2.32, tag 274)."""


def load_image(item: Any, *, convert: bool = False, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Load an image as an RGB array (height, width, 3), uint8, upright as its EXIF orientation says.

    Args:
        item: A path, the bytes of an image file, a PIL image, or a uint8 array (height, width, 3) in RGB order.
        convert: Whether images that are not RGB (grey, with transparency, palette, CMYK) are converted; transparent
            parts become black. Otherwise they are refused, because a model trained on colour sees something else in
            them.
        max_pixels: Images with more pixels are refused before they are decoded.

    Raises:
        ExtractionError: If the item is not an image, is empty, damaged, too big, of more than 8 bits a channel, or
            not RGB; names the item.

    Example:
        >>> load_image(np.zeros((2, 4, 3), dtype=np.uint8)).shape
        (2, 4, 3)
    """
    from PIL import Image

    name = describe(item)
    if isinstance(item, np.ndarray):
        image = _from_array(item, name)
    elif isinstance(item, Image.Image):
        image = item
    elif isinstance(item, (str, Path, bytes)):
        image = _open(item, name)
    else:
        raise ExtractionError(f"{name} is not an image. Pass a path, bytes, a PIL image or a uint8 array")
    if image.width * image.height > max_pixels:
        raise ExtractionError(
            f"{name} must have at most {max_pixels:,} pixels. Got {image.width} x {image.height}. Scale it down, or "
            "raise the limit: max_pixels=… (--option max_pixels=…)"
        )
    if image.width * image.height == 0:
        raise ExtractionError(f"{name} has no pixels: {image.width} x {image.height}")
    if image.mode.startswith(("I", "F")):
        raise ExtractionError(f"{name} must have 8 bits a channel. Got mode {image.mode!r}. Scale it to 8 bits first")
    if image.mode != "RGB" and not convert:
        raise ExtractionError(
            f"{name} must be an RGB image. Got mode {image.mode!r}. Pass convert=True (--option convert=true) "
            "to convert it"
        )
    try:
        pixels = np.array(_to_rgb(_upright(image)), dtype=np.uint8)
    except ExtractionError:
        raise
    except Exception as error:  # decoders raise whatever they like
        raise ExtractionError(f"{name} is damaged: {error}") from error
    return pixels


def _upright(image: Image.Image) -> Image.Image:
    """Turn an image as its EXIF orientation says; no other tag is read, and damaged EXIF says nothing."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # odd EXIF is no reason to lose the photo
        return image
    method = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(Image.Transpose[method])


def describe(item: Any) -> str:
    """Name an item in an error: its path, or what it is."""
    if isinstance(item, (str, Path)):
        return str(item)
    if isinstance(item, bytes):
        return f"an image of {len(item)} bytes"
    if isinstance(item, np.ndarray):
        return f"an array of shape {item.shape} and dtype {item.dtype}"
    return f"an object of type {type(item).__name__}"


def _open(item: str | Path | bytes, name: str) -> Image.Image:
    """Open an image file without decoding it, apart from its header."""
    from PIL import Image

    try:
        data = item if isinstance(item, bytes) else Path(item).read_bytes()
    except (OSError, ValueError) as error:
        raise ExtractionError(f"{name} cannot be read: {error}") from error
    if not data:
        raise ExtractionError(f"{name} is empty: 0 bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about bombs, where our own limit is lower, and about odd EXIF
            is_heif = data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS
            return _open_heif(data, name) if is_heif else Image.open(io.BytesIO(data))
    except ExtractionError:
        raise
    except Image.DecompressionBombError as error:
        raise ExtractionError(f"{name} is too big: Pillow opens at most {_PILLOW_PIXELS:,} pixels") from error
    except Exception as error:  # decoders raise whatever they like
        raise ExtractionError(f"{name} is not an image that Pillow can read") from error


def _open_heif(data: bytes, name: str) -> Image.Image:
    """Open an image of an iPhone; libheif turns it upright itself."""
    try:
        import pillow_heif
    except ImportError as error:
        raise ExtractionError(f"{name} is HEIC. To read it: pip install pillow-heif") from error
    opener: Any = pillow_heif.HeifImageFile  # it has no types
    image: Image.Image = opener(io.BytesIO(data))
    return image


def check_max_pixels(max_pixels: int) -> int:
    """Refuse a limit that is not positive, or that Pillow would not go along with.

    Raises:
        InputError: If it is neither.
    """
    if not isinstance(max_pixels, int) or not 1 <= max_pixels <= _PILLOW_PIXELS:
        raise InputError(f"max_pixels must be from 1 to {_PILLOW_PIXELS:,}, which Pillow opens. Got {max_pixels!r}.")
    return max_pixels


def _from_array(array: NDArray[Any], name: str) -> Image.Image:
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise ExtractionError(f"{name} is not an image. Pass uint8 of shape (height, width, 3) in RGB order")
    if array.size == 0:
        raise ExtractionError(f"{name} has no pixels")
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(array))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.has_transparency_data:
        from PIL import Image

        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "black"), image).convert("RGB")
    return image.convert("RGB")
