"""Face models for embcompat."""

from embcompat_face.detection import Face, FaceDetector, open_detector
from embcompat_face.dlib_face import DlibExtractor
from embcompat_face.onnx_face import OnnxFaceExtractor
from embcompat_face.presets import adaface, facenet, insightface, sface

__all__ = [
    "DlibExtractor",
    "Face",
    "FaceDetector",
    "OnnxFaceExtractor",
    "adaface",
    "facenet",
    "insightface",
    "open_detector",
    "sface",
]
