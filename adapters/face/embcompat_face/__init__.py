"""Face models for embcompat."""

from embcompat_face.dlib_face import DlibExtractor
from embcompat_face.images import load_image
from embcompat_face.onnx_face import FaceNetExtractor, OnnxFaceExtractor

__all__ = ["DlibExtractor", "FaceNetExtractor", "OnnxFaceExtractor", "load_image"]
