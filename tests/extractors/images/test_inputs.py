from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from embcompat.errors import InputError
from embcompat.extractors.images import ImageInput, check_channels, check_standardization, per_channel

IMAGE = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)


def test_fixed_standardization_layout_and_channels() -> None:
    plain = ImageInput(2, 4, "NHWC", mean=10, scale=0.5).prepare(IMAGE)
    np.testing.assert_allclose(plain, (IMAGE.astype(np.float64) - 10) * 0.5)
    first = ImageInput(2, 4, "NCHW", channels="BGR", mean=0, scale=1).prepare(IMAGE)
    np.testing.assert_array_equal(first, IMAGE[:, :, ::-1].transpose(2, 0, 1))
    assert first.dtype == np.float32
    assert first.flags.c_contiguous


def test_mean_and_scale_belong_to_red_green_blue_whatever_the_order_of_the_channels() -> None:
    mean, scale = (1.0, 2.0, 3.0), (1.0, 10.0, 100.0)
    expected = (IMAGE.astype(np.float64) - mean) * scale
    rgb = ImageInput(2, 4, "NHWC", "RGB", mean=mean, scale=scale).prepare(IMAGE)
    bgr = ImageInput(2, 4, "NHWC", "BGR", mean=mean, scale=scale).prepare(IMAGE)
    np.testing.assert_allclose(rgb, expected)
    np.testing.assert_allclose(bgr, expected[:, :, ::-1])


def test_per_image_standardization() -> None:
    image = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    takes = ImageInput(4, 4, "NHWC", standardization="per-image")
    wide = image.astype(np.float64)
    np.testing.assert_allclose(takes.prepare(image), (wide - wide.mean()) / wide.std(), atol=1e-5)
    # One colour has no deviation; 1/√48 stands in for it.
    flat = np.full((4, 4, 3), 7, dtype=np.uint8)
    flat[0, 0, 0] = 8
    wide = flat.astype(np.float64)
    np.testing.assert_allclose(takes.prepare(flat), (wide - wide.mean()) / max(wide.std(), 48**-0.5), atol=1e-5)
    assert not takes.prepare(np.full((4, 4, 3), 9, np.uint8)).any()


@pytest.mark.parametrize("value", [1, 1.0, [1, 1, 1], (1, 1, 1), np.ones(3), [1]])
def test_one_number_for_all_channels_is_one_input(value: Any) -> None:
    assert per_channel(value, what="scale") == 1.0
    assert isinstance(per_channel(value, what="scale"), float)


@pytest.mark.parametrize(
    "value", [(1, 2), (1, 2, 3, 4), [], "1,2,3", None, float("nan"), (1, 2, float("inf")), True, ["1", "2", "3"]]
)
def test_a_mean_is_one_number_or_three(value: Any) -> None:
    with pytest.raises(InputError, match="mean must be a finite number, or three in the order red, green, blue"):
        per_channel(value, what="mean")


@pytest.mark.parametrize("value", [0, (1, 0, 1)])
def test_a_scale_is_not_zero(value: Any) -> None:
    with pytest.raises(InputError, match="scale must be a finite number other than 0, or three"):
        per_channel(value, what="scale")
    per_channel(value, what="mean")


def test_the_fingerprint_tells_inputs_apart() -> None:
    inputs = [
        ImageInput(2, 4, "NHWC"),
        ImageInput(4, 2, "NHWC"),
        ImageInput(2, 4, "NCHW"),
        ImageInput(2, 4, "NHWC", channels="BGR"),
        ImageInput(2, 4, "NHWC", standardization="per-image"),
        ImageInput(2, 4, "NHWC", mean=0),
        ImageInput(2, 4, "NHWC", mean=(0, 0, 1)),
        ImageInput(2, 4, "NHWC", scale=1),
        ImageInput(2, 4, "NHWC", scale=(1, 1, 2)),
    ]
    prints = [each.fingerprint() for each in inputs]
    assert all(first != second for row, first in enumerate(prints) for second in prints[:row])


def test_unknown_choices_are_refused() -> None:
    with pytest.raises(InputError, match="channels must be 'RGB' or 'BGR'. Got 'GBR'"):
        check_channels("GBR")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="standardization must be 'fixed' or 'per-image'. Got 'none'"):
        check_standardization("none")  # type: ignore[arg-type]
