"""Tiny graphs stand in for face models; see `write_image_graph`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from embcompat_face import OnnxFaceExtractor
from numpy.typing import NDArray
from PIL import Image

from embcompat.errors import ExtractionError, InputError
from embcompat.extractors import SkippedItem, extract_embeddings
from embcompat.testing.extractors import check_extractor

Write = Callable[..., Path]
Photo = NDArray[np.uint8]


@pytest.fixture
def crops() -> list[Photo]:
    rng = np.random.default_rng(1)
    return [rng.integers(0, 200 + 10 * row, (8, 8, 3), dtype=np.uint8) for row in range(5)]


@pytest.fixture
def graph(write_image_graph: Write, tmp_path: Path) -> Path:
    return write_image_graph(tmp_path / "m.onnx", ("n", 3, 8, 8), half=True)


def test_it_is_an_extractor(graph: Path, crops: list[Photo]) -> None:
    extractor = OnnxFaceExtractor(graph, batch_size=2)
    check_extractor(extractor, crops)
    assert extractor.chunk_size == 2
    space = extractor.space
    assert (space.name, space.dim, space.similarity, space.normalized) == ("m", 5, "cosine", True)
    check_extractor(OnnxFaceExtractor(graph, flip=True), crops)


def test_a_graph_for_one_image_at_a_time(write_image_graph: Write, tmp_path: Path, crops: list[Photo]) -> None:
    extractor = OnnxFaceExtractor(write_image_graph(tmp_path / "one.onnx", (1, 3, 8, 8)))
    check_extractor(extractor, crops)
    assert extractor.chunk_size == 1


def test_everything_that_changes_vectors_is_in_the_fingerprint(
    graph: Path, write_image_graph: Write, tmp_path: Path, crops: list[Photo]
) -> None:
    options: list[dict[str, Any]] = [
        {},
        {"mean": 0},
        {"mean": (127.5, 127.5, 100)},
        {"scale": 1},
        {"scale": (0.01, 0.01, 0.02)},
        {"channels": "BGR"},
        {"standardization": "per-image"},
        {"normalize": False},
        {"flip": True},
        {"size": 8, "detector": "dlib"},
    ]
    prints = [OnnxFaceExtractor(graph, **each).space.fingerprint for each in options]
    prints.append(OnnxFaceExtractor(write_image_graph(tmp_path / "n.onnx", ("n", 3, 8, 9))).space.fingerprint)
    assert all(first != second for row, first in enumerate(prints) for second in prints[:row])
    for same in ({"scale": (1 / 127.5,) * 3}, {"mean": [127.5] * 3}, {"resize": True}, {"several": "refuse"}):
        assert OnnxFaceExtractor(graph, **same).space.fingerprint == prints[0]  # type: ignore[arg-type]
    vectors = [OnnxFaceExtractor(graph, **each).extract(crops) for each in options[:-1]]
    # The graph and unit norm undo a common scale, and per-channel scales and means are left.
    assert all(np.abs(vectors[row] - vectors[0]).max() > 1e-3 for row in (1, 2, 4, 5, 6, 7, 8))


def test_option_faults_are_named(graph: Path) -> None:
    for options, message in (
        ({"scale": (1, 1)}, "scale must be a finite number other than 0, or three in the order red, green, blue"),
        ({"mean": "104,117,123"}, r"mean must be a finite number, or three .*\[123.7, 116.3, 103.5\]"),
        ({"channels": "GBR"}, "channels must be 'RGB' or 'BGR'. Got 'GBR'"),
        ({"standardization": "none"}, "standardization must be 'fixed' or 'per-image'"),
        ({"several": "all"}, "several must be 'largest' or 'refuse'. Got 'all'"),
        ({"max_pixels": 0}, "max_pixels must be from 1"),
    ):
        with pytest.raises(InputError, match=message):
            OnnxFaceExtractor(graph, **options)  # type: ignore[arg-type]


def test_what_is_no_crop_is_refused_never_squeezed(graph: Path, crops: list[Photo]) -> None:
    extractor, resizing = OnnxFaceExtractor(graph), OnnxFaceExtractor(graph, resize=True)
    wide, large = np.zeros((8, 16, 3), dtype=np.uint8), np.repeat(np.repeat(crops[0], 2, axis=0), 2, axis=1)
    for each in (extractor, resizing):
        with pytest.raises(ExtractionError, match=r"aligned face crop of 8 x 8 pixels. Got 8 x 16 .*Pass detector="):
            each.extract([wide])
    with pytest.raises(ExtractionError, match=r"Got 16 x 16 \(height x width\).*--option detector=dlib.*resize=true"):
        extractor.extract([large])
    scaled = np.asarray(Image.fromarray(large).resize((8, 8), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(resizing.extract([large]), extractor.extract([scaled]))
    np.testing.assert_array_equal(resizing.extract(crops), extractor.extract(crops))


def test_bad_images_are_named_or_skipped_and_listed(graph: Path, tmp_path: Path, crops: list[Photo]) -> None:
    extractor = OnnxFaceExtractor(graph)
    (tmp_path / "empty.jpg").touch()
    items = [crops[0], tmp_path / "empty.jpg", crops[1][:, :, 0], b"broken", crops[2]]
    with pytest.raises(ExtractionError, match=r"item '1' \(row 1\) cannot be embedded: .*empty.jpg is empty: 0 bytes"):
        extract_embeddings(extractor, items)
    skipped: list[SkippedItem] = []
    embeddings = extract_embeddings(extractor, items, on_skip=skipped.append)
    assert embeddings.ids.tolist() == ["0", "4"]
    assert [item.row for item in skipped] == [1, 2, 3]
    converting = OnnxFaceExtractor(graph, convert=True)
    assert extract_embeddings(converting, items, on_skip=skipped.append).ids.tolist() == ["0", "2", "4"]
    assert converting.space == extractor.space
    with pytest.raises(ExtractionError, match="at most 63 pixels"):
        OnnxFaceExtractor(graph, max_pixels=63).extract(crops)


# with a detector


def test_faces_in_photographs_are_aligned(write_image_graph: Write, tmp_path: Path, astronaut: Photo) -> None:
    path = write_image_graph(tmp_path / "m.onnx", ("n", 3, 112, 112), half=True)
    extractor = OnnxFaceExtractor(path, detector="dlib")
    portrait = astronaut[:256, 96:352]
    turned = np.asarray(Image.fromarray(portrait).rotate(10, Image.Resampling.BICUBIC))
    larger = np.asarray(Image.fromarray(portrait).resize((300, 300), Image.Resampling.LANCZOS))
    check_extractor(extractor, [portrait, turned, larger])
    first, *others = extractor.extract([portrait, turned, larger])
    assert all(first @ other > 0.999 for other in others)
    assert isinstance(extractor.space.fingerprint["alignment"], dict)
    with pytest.raises(ExtractionError, match=r"no face found in an array of shape \(90, 90, 3\)"):
        extractor.extract([portrait, np.zeros((90, 90, 3), dtype=np.uint8)])


def test_aligning_needs_a_square_input(write_image_graph: Write, tmp_path: Path) -> None:
    path = write_image_graph(tmp_path / "m.onnx", ("n", 3, 112, 96))
    with pytest.raises(InputError, match="detector aligns faces for square inputs. Got one of 112 x 96"):
        OnnxFaceExtractor(path, detector="dlib")


def test_several_faces_are_counted_and_said(write_image_graph: Write, tmp_path: Path, astronaut: Photo) -> None:
    path = write_image_graph(tmp_path / "m.onnx", ("n", 3, 112, 112), half=True)
    portrait = astronaut[:256, 96:352]
    pair = np.hstack([portrait[16:, :240][:, ::-1], portrait[:240]])
    Image.fromarray(pair).save(tmp_path / "pair.png")
    extractor = OnnxFaceExtractor(path, detector="dlib")
    assert extractor.extract([portrait, tmp_path / "pair.png", tmp_path / "pair.png"]).shape == (3, 5)
    (remark,) = extractor.remarks()
    assert remark == (
        f"1 image holds several faces, 2 in all, and the largest is embedded: {tmp_path / 'pair.png'} (2). Pass "
        "several='refuse' (--option several=refuse) to leave such images out."
    )
    refusing = OnnxFaceExtractor(path, detector="dlib", several="refuse")
    with pytest.raises(ExtractionError, match="2 faces found in .*pair.png, where several='refuse' allows one"):
        refusing.extract([tmp_path / "pair.png"])
    np.testing.assert_array_equal(refusing.extract([portrait]), extractor.extract([portrait]))
