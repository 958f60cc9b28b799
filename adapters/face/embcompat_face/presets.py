"""Published face models whose input is known, so that nobody has to look it up."""

from __future__ import annotations

from pathlib import Path

from embcompat.errors import InputError
from embcompat.extractors.images import MAX_PIXELS, Standardization, check_standardization
from embcompat.extractors.models import read_operators
from embcompat_face.alignment import TEMPLATE_SIZE
from embcompat_face.detection import Several
from embcompat_face.onnx_face import BATCH_SIZE, OnnxFaceExtractor

FACENET_SIZE = 160
FACENET_CONVOLUTIONS = 132
"""Convolutions of Inception-ResNet v1, the architecture of every published FaceNet."""

_CONVOLUTIONS = ("Conv", "ConvInteger", "FusedConv", "QLinearConv")
_FIRST_OPERATORS = 8


def insightface(
    model: str | Path,
    *,
    detector: str | Path | None = None,
    several: Several = "largest",
    resize: bool = False,
    flip: bool = False,
    convert: bool = False,
    max_pixels: int = MAX_PIXELS,
    batch_size: int = BATCH_SIZE,
    name: str | None = None,
    version: str | None = None,
) -> OnnxFaceExtractor:
    """InsightFace's ArcFace models, such as w600k_r50.onnx and w600k_mbf.onnx.

    112 x 112, RGB, (pixel − 127.5) / 127.5, or plain pixels where the graph does that itself, which is told, as
    InsightFace tells it, by a subtraction and a multiplication among its first eight nodes.

    The packs' own detectors are ``det_10g.onnx`` and ``det_500m.onnx``. All options are those of `OnnxFaceExtractor`.

    Raises:
        InputError: If the file cannot be used, or does not take 112 x 112 images.
        MissingExtraError: If ``detector`` is ``dlib`` and dlib is not installed.
    """
    standardizes = {"Sub", "Mul"} <= set(read_operators(Path(model))[:_FIRST_OPERATORS])
    return OnnxFaceExtractor(
        model,
        size=TEMPLATE_SIZE,
        mean=0 if standardizes else 127.5,
        scale=1 if standardizes else 1 / 127.5,
        detector=detector,
        several=several,
        resize=resize,
        flip=flip,
        convert=convert,
        max_pixels=max_pixels,
        batch_size=batch_size,
        name=name,
        version=version,
    )


def adaface(
    model: str | Path,
    *,
    detector: str | Path | None = None,
    several: Several = "largest",
    resize: bool = False,
    flip: bool = False,
    convert: bool = False,
    max_pixels: int = MAX_PIXELS,
    batch_size: int = BATCH_SIZE,
    name: str | None = None,
    version: str | None = None,
) -> OnnxFaceExtractor:
    """AdaFace (Kim et al., 2022): 112 x 112, BGR, (pixel − 127.5) / 127.5.

    An export may have the norm of the vector as a second output; it is not read. All options are those of
    `OnnxFaceExtractor`.

    Raises:
        InputError: If the file cannot be used, or does not take 112 x 112 images.
        MissingExtraError: If ``detector`` is ``dlib`` and dlib is not installed.
    """
    return OnnxFaceExtractor(
        model,
        size=TEMPLATE_SIZE,
        channels="BGR",
        mean=127.5,
        scale=1 / 127.5,
        detector=detector,
        several=several,
        resize=resize,
        flip=flip,
        convert=convert,
        max_pixels=max_pixels,
        batch_size=batch_size,
        name=name,
        version=version,
    )


def sface(
    model: str | Path,
    *,
    detector: str | Path | None = None,
    several: Several = "largest",
    resize: bool = False,
    flip: bool = False,
    convert: bool = False,
    max_pixels: int = MAX_PIXELS,
    batch_size: int = BATCH_SIZE,
    name: str | None = None,
    version: str | None = None,
) -> OnnxFaceExtractor:
    """OpenCV's SFace (Zhong et al., 2021), face_recognition_sface_2021dec.onnx: 112 x 112, RGB, plain pixels.

    OpenCV pairs it with the detector ``face_detection_yunet_2023mar.onnx``. All options are those of
    `OnnxFaceExtractor`.

    Raises:
        InputError: If the file cannot be used, or does not take 112 x 112 images.
        MissingExtraError: If ``detector`` is ``dlib`` and dlib is not installed.
    """
    return OnnxFaceExtractor(
        model,
        size=TEMPLATE_SIZE,
        mean=0,
        scale=1,
        detector=detector,
        several=several,
        resize=resize,
        flip=flip,
        convert=convert,
        max_pixels=max_pixels,
        batch_size=batch_size,
        name=name,
        version=version,
    )


def facenet(
    weights: str | Path,
    *,
    standardization: Standardization = "fixed",
    resize: bool = False,
    flip: bool = False,
    output: str | None = None,
    convert: bool = False,
    max_pixels: int = MAX_PIXELS,
    batch_size: int = BATCH_SIZE,
    version: str | None = None,
) -> OnnxFaceExtractor:
    """FaceNet (Schroff et al., 2015) as Inception-ResNet v1: 160 x 160 RGB face crops, vectors of unit norm.

    The weights are yours to bring; the README of embcompat-face says how to obtain and convert them. Its crops have a
    margin and are not aligned to landmarks, so nothing is detected here: give it crops made as for its training.

    Args:
        weights: The ONNX file; one that holds all its weights.
        standardization: What the weights were trained with: ``fixed``, (pixel − 127.5) / 128, or ``per-image`` for
            older ones. The wrong one gives vectors that look right and match badly.
        resize: See `OnnxFaceExtractor`.
        flip: See `OnnxFaceExtractor`.
        output: Name of the graph's output (n, dim); its only one when None.
        convert: See `OnnxFaceExtractor`.
        max_pixels: See `OnnxFaceExtractor`.
        batch_size: See `OnnxFaceExtractor`.
        version: Version of the space, for instance the date in the name of the weights; the first 12 digits of the
            graph's digest when None.

    Raises:
        InputError: If the file cannot be used, is another architecture, or does not take 160 x 160 images.
    """
    path = Path(weights)
    check_standardization(standardization)
    count = sum(operator in _CONVOLUTIONS for operator in read_operators(path))
    if count != FACENET_CONVOLUTIONS:
        raise InputError(
            f"{path} must be a FaceNet: Inception-ResNet v1, {FACENET_CONVOLUTIONS} convolutions. Got {count}. Use the "
            "extractor insightface, adaface or sface for those models, and onnx-face for any other."
        )
    return OnnxFaceExtractor(
        path,
        size=FACENET_SIZE,
        standardization=standardization,
        mean=127.5,
        scale=1 / 128,
        similarity="euclidean",
        output=output,
        resize=resize,
        flip=flip,
        convert=convert,
        max_pixels=max_pixels,
        batch_size=batch_size,
        name="facenet",
        version=version,
    )
