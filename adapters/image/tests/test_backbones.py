"""A real timm model with random weights, where timm and a torchvision that fits torch are installed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from embcompat_image import ImageExtractor
from embcompat_image.encoders import choose_library
from numpy.typing import NDArray
from PIL import Image

from embcompat.errors import InputError, MissingExtraError
from embcompat.testing.extractors import check_extractor


@pytest.fixture
def timm() -> Any:
    try:
        import timm
        import timm.data
        import timm.models
    except (ImportError, RuntimeError):
        pytest.skip("timm and a torchvision that fits torch are not installed")
    return timm


def test_the_library_is_told_from_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"architecture": "vit_tiny_patch16_224", "pretrained_cfg": {}}))
    assert choose_library(tmp_path, None) == "timm"
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'embcompat-image\[timm\]'"):
        ImageExtractor(tmp_path)
    with pytest.raises(InputError, match="pooling is part of a model of timm"):
        ImageExtractor(tmp_path, pooling="cls")
    config.write_text(json.dumps({"architecture": "x", "pretrained_cfg": {}, "model_type": "timm_wrapper"}))
    assert choose_library(tmp_path, None) == "transformers"
    (tmp_path / "modules.json").write_text("[]")
    assert choose_library(tmp_path, None) == "sentence-transformers"


def test_vectors_are_those_of_timm(timm: Any, tmp_path: Path, photos: list[NDArray[np.uint8]]) -> None:
    import torch

    model = timm.create_model("test_vit", pretrained=False)
    timm.models.save_for_hf(model, tmp_path, safe_serialization=True)
    extractor = ImageExtractor(tmp_path, device="cpu")
    check_extractor(extractor, photos)
    assert extractor.space.fingerprint["library"] == "timm"
    model.reset_classifier(0)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    with torch.inference_mode():
        expected = model.eval()(torch.stack([transform(Image.fromarray(photo)) for photo in photos])).numpy()
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(extractor.extract(photos), expected, atol=1e-5)
    with pytest.raises(InputError, match="encode='text' needs a model of images and texts"):
        ImageExtractor(tmp_path, device="cpu", encode="text")
