from __future__ import annotations

import io
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from numpy.typing import NDArray
from PIL import Image

from embcompat.errors import ExtractionError, InputError
from embcompat.extractors.images import check_max_pixels, load_image

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def test_every_form_of_an_image_gives_the_same_pixels(tmp_path: Path) -> None:
    image = Image.fromarray(PIXELS)
    image.save(tmp_path / "a.png")
    for item in (PIXELS, PIXELS[:, ::-1][:, ::-1], image, encoded(image), tmp_path / "a.png", str(tmp_path / "a.png")):
        pixels = load_image(item)
        np.testing.assert_array_equal(pixels, PIXELS)
        assert pixels.dtype == np.uint8
        assert pixels.flags.c_contiguous


def test_a_photograph_is_turned_upright() -> None:
    turned = encoded(Image.fromarray(PIXELS).rotate(90, expand=True), exif=exif(orientation=6))
    np.testing.assert_array_equal(load_image(turned), PIXELS)


def exif(*, orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


@pytest.mark.parametrize("mode", ["L", "RGBA", "LA", "P", "CMYK", "1"])
def test_what_is_not_rgb_is_refused_or_converted_when_asked(mode: str, tmp_path: Path) -> None:
    path = tmp_path / f"{mode[0]}.tiff"
    Image.fromarray(PIXELS[:, :, 0]).convert(mode).save(path)
    with pytest.raises(
        ExtractionError,
        match=rf"{path} must be an RGB image. Got mode '{mode}'. Pass convert=True .--option convert=true.",
    ):
        load_image(path)
    assert load_image(path, convert=True).shape == (6, 9, 3)


def test_a_grey_image_is_repeated_in_every_channel() -> None:
    grey = PIXELS[:, :, 0]
    with pytest.raises(ExtractionError, match=r"an array of shape \(6, 9\).* must be an RGB image. Got mode 'L'"):
        load_image(grey)
    np.testing.assert_array_equal(load_image(grey, convert=True), np.repeat(grey[:, :, np.newaxis], 3, axis=2))


def test_more_than_eight_bits_are_refused_rather_than_clipped() -> None:
    for dtype, mode in ((np.uint16, "I;16"), (np.int32, "I"), (np.float32, "F")):
        wide = Image.fromarray(np.array([[0, 257, 65_535]], dtype=dtype))
        with pytest.raises(ExtractionError, match=f"must have 8 bits a channel. Got mode '{mode}'"):
            load_image(wide, convert=True)


def test_transparent_parts_become_black() -> None:
    alpha = np.full((6, 9, 1), 255, dtype=np.uint8)
    alpha[0] = 0
    pixels = load_image(np.concatenate([PIXELS, alpha], axis=2), convert=True)
    np.testing.assert_array_equal(pixels[1:], PIXELS[1:])
    assert not pixels[0].any()


def png_header(width: int, height: int) -> bytes:
    """Return a PNG that claims a size and holds no pixels."""
    chunks = b"\x89PNG\r\n\x1a\n"
    for body in (b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT"):
        chunks += struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return chunks


def test_huge_images_are_refused_before_they_are_decoded() -> None:
    with pytest.raises(ExtractionError, match="at most 50,000,000 pixels. Got 10000 x 10000"):
        load_image(png_header(10_000, 10_000))
    with pytest.raises(ExtractionError, match="is too big: Pillow opens at most 178,956,970 pixels"):
        load_image(png_header(60_000, 60_000))
    with pytest.raises(
        ExtractionError, match=r"at most 53 pixels. Got 9 x 6. Scale it down, or raise the limit: .*--option max_pixels"
    ):
        load_image(PIXELS, max_pixels=53)
    assert load_image(PIXELS, max_pixels=54).shape == (6, 9, 3)


def test_a_limit_must_be_one_that_pillow_goes_along_with() -> None:
    assert check_max_pixels(178_956_970) == 2 * (Image.MAX_IMAGE_PIXELS or 0)
    for limit in (0, 178_956_971, 1.5):
        with pytest.raises(InputError, match=f"max_pixels must be from 1 to 178,956,970.* Got {limit}"):
            check_max_pixels(limit)  # type: ignore[arg-type]


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_heic_is_read_and_turned_as_other_photos(orientation: int, tmp_path: Path) -> None:
    image = Image.fromarray(np.repeat(np.repeat(PIXELS // 64 * 64, 16, axis=0), 16, axis=1))
    tags = exif(orientation=orientation)
    stream = io.BytesIO()
    pillow_heif.from_pillow(image).save(stream, quality=-1, exif=tags.tobytes())
    (tmp_path / "IMG_0001.HEIC").write_bytes(stream.getvalue())
    expected = load_image(encoded(image, exif=tags)).astype(int)
    pixels = load_image(tmp_path / "IMG_0001.HEIC").astype(int)
    assert pixels.shape == expected.shape
    assert np.abs(pixels - expected).mean() < 20  # colour is stored at half the resolution
    with pytest.raises(ExtractionError, match="at most 100 pixels"):
        load_image(stream.getvalue(), max_pixels=100)
    with pytest.raises(ExtractionError, match=r"is damaged|is not an image"):
        load_image(stream.getvalue()[:200])


def test_heic_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(PIXELS)).save(stream)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ExtractionError, match=r"is HEIC. To read it: pip install pillow-heif"):
        load_image(stream.getvalue())


def test_damaged_files_are_named(tmp_path: Path) -> None:
    whole = encoded(Image.fromarray(np.tile(PIXELS, (30, 30, 1))), "JPEG")
    for name, data, message in (
        ("empty.jpg", b"", "empty.jpg is empty: 0 bytes"),
        ("text.jpg", b"this is not an image", "text.jpg is not an image that Pillow can read"),
        ("cut.jpg", whole[: len(whole) // 2], "cut.jpg is damaged: image file is truncated"),
        ("cut.png", encoded(Image.fromarray(PIXELS))[:60], "cut.png is damaged"),
        ("head.png", png_header(9, 6), "head.png is damaged"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ExtractionError, match=message):
            load_image(tmp_path / name)
    with pytest.raises(ExtractionError, match=r"absent.jpg cannot be read: .*No such file"):
        load_image(tmp_path / "absent.jpg")
    with pytest.raises(ExtractionError, match="cannot be read"):
        load_image(tmp_path)
    with pytest.raises(ExtractionError, match="an image of 3 bytes is not an image"):
        load_image(b"abc")


@pytest.mark.parametrize(
    "item",
    [None, 7, np.zeros((4, 4, 3)), np.zeros((4, 4, 2), np.uint8), np.zeros(4, np.uint8), np.zeros((0, 4, 3), np.uint8)],
)
def test_what_is_no_image_is_refused(item: NDArray[Any] | None) -> None:
    with pytest.raises(ExtractionError, match="is not an image|has no pixels"):
        load_image(item)


def test_odd_exif_does_not_lose_the_photo(tmp_path: Path) -> None:
    image = Image.new("RGB", (4, 2), "red")
    exif = image.getexif()
    exif[0x0112] = 6  # turn by 90 degrees
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert load_image(tmp_path / "turned.jpg").shape == (4, 2, 3)
    data = (tmp_path / "turned.jpg").read_bytes()
    start = data.index(b"Exif\0\0") + 6
    for damage in (b"XX*\0", b"II*\0\xff\xff\xff\x7f"):
        (tmp_path / "odd.jpg").write_bytes(data[:start] + damage + data[start + len(damage) :])
        assert load_image(tmp_path / "odd.jpg").shape == (2, 4, 3)
