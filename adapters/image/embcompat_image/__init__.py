"""Image models for embcompat. torch and transformers are imported when an extractor is made."""

from embcompat_image.extractor import ImageExtractor
from embcompat_image.onnx_image import OnnxImageExtractor

__all__ = ["ImageExtractor", "OnnxImageExtractor"]
