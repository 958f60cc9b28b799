"""What extractors of images share: images as upright RGB arrays, and ONNX graphs that take them."""

from embcompat.extractors.images.inputs import (
    Channels,
    ImageInput,
    Layout,
    PerChannel,
    Standardization,
    check_channels,
    check_standardization,
    declared_size,
    image_input,
    per_channel,
)
from embcompat.extractors.images.loading import MAX_PIXELS, check_max_pixels, describe, load_image
from embcompat.extractors.images.network import ImageNetwork

__all__ = [
    "MAX_PIXELS",
    "Channels",
    "ImageInput",
    "ImageNetwork",
    "Layout",
    "PerChannel",
    "Standardization",
    "check_channels",
    "check_max_pixels",
    "check_standardization",
    "declared_size",
    "describe",
    "image_input",
    "load_image",
    "per_channel",
]
