from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from embcompat_image import ImageExtractor
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from embcompat.cli import app
from embcompat.embeddings import Embeddings
from embcompat.errors import ExtractionError, InputError, MissingExtraError
from embcompat.extractors import SkippedItem, extract_embeddings, extraction_notes, load_extractor
from embcompat.testing.extractors import check_extractor

Photos = list[NDArray[np.uint8]]
Models = dict[str, Path]
TEXTS = ["a photo of a dog", "the astronaut and a cat by the sea", "house"]


def make(folder: Path, **options: Any) -> ImageExtractor:
    return ImageExtractor(folder, device="cpu", **options)


def unit(rows: Any) -> NDArray[Any]:
    rows = np.asarray(rows)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


@pytest.mark.parametrize(
    ("name", "dim", "pooling"),
    [
        ("clip", 24, "projection"),
        ("siglip", 32, "projection"),
        ("dinov2", 32, "pooler"),
        ("vit", 32, "pooler"),
        ("classifier", 32, "cls"),
        ("resnet", 16, "pooler"),
    ],
)
def test_every_architecture_is_an_extractor(models: Models, photos: Photos, name: str, dim: int, pooling: str) -> None:
    extractor = make(models[name], batch_size=2)
    check_extractor(extractor, photos)
    space = extractor.space
    assert (space.name, space.dim, space.modality, space.normalized) == (name, dim, "image", True)
    assert (space.similarity, space.fingerprint["pooling"]) == ("cosine", pooling)
    assert space.fingerprint["library"] == "transformers"
    assert extractor.chunk_size == 2


def test_vectors_are_those_of_transformers(models: Models, photos: Photos) -> None:
    """Each model as its documentation says it is called, all images and texts in one batch."""
    import torch
    from transformers import AutoTokenizer, CLIPImageProcessorPil, CLIPModel, Dinov2Model, ViTForImageClassification

    images = [Image.fromarray(photo) for photo in photos]
    pixels = CLIPImageProcessorPil.from_pretrained(models["clip"])(images=images, return_tensors="pt")
    tokens = AutoTokenizer.from_pretrained(models["clip"])(TEXTS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        outputs = CLIPModel.from_pretrained(models["clip"])(**pixels, **tokens)
    clip, texts = make(models["clip"]), make(models["clip"], encode="text")
    np.testing.assert_allclose(clip.extract(photos), unit(outputs.image_embeds), atol=1e-5)
    np.testing.assert_allclose(texts.extract(TEXTS), unit(outputs.text_embeds), atol=1e-5)

    from transformers import BitImageProcessorPil, ViTImageProcessorPil

    pixels = BitImageProcessorPil.from_pretrained(models["dinov2"])(images=images, return_tensors="pt")
    with torch.inference_mode():
        hidden = Dinov2Model.from_pretrained(models["dinov2"])(**pixels).last_hidden_state[:, 0]
    plain = make(models["dinov2"], normalize=False)
    np.testing.assert_allclose(plain.extract(photos), hidden, atol=1e-5)
    assert not plain.space.normalized

    pixels = ViTImageProcessorPil.from_pretrained(models["classifier"])(images=images, return_tensors="pt")
    with torch.inference_mode():
        hidden = ViTForImageClassification.from_pretrained(models["classifier"]).vit(**pixels).last_hidden_state[:, 0]
    np.testing.assert_allclose(make(models["classifier"]).extract(photos), unit(hidden), atol=1e-5)


def test_siglip_pads_texts_as_it_was_trained(models: Models) -> None:
    import torch
    from transformers import AutoTokenizer, SiglipModel

    tokens = AutoTokenizer.from_pretrained(models["siglip"])(
        TEXTS, padding="max_length", max_length=12, truncation=True, return_tensors="pt"
    )
    with torch.inference_mode():
        outputs = SiglipModel.from_pretrained(models["siglip"]).get_text_features(**tokens).pooler_output
    np.testing.assert_allclose(make(models["siglip"], encode="text").extract(TEXTS), unit(outputs), atol=1e-5)


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_images_and_texts_are_one_space(models: Models, photos: Photos, name: str) -> None:
    images, texts = make(models[name]), make(models[name], encode="text")
    assert images.space == texts.space
    check_extractor(texts, TEXTS)
    (note,) = extraction_notes(texts, ["sea " * 40, *TEXTS])
    assert "1 of 4 texts is longer than" in note
    assert extraction_notes(images, photos) == []
    with pytest.raises(ExtractionError, match="a text must not be empty or blank"):
        texts.extract([" "])


def test_sentence_transformers(sentence_clip: Path, models: Models, photos: Photos) -> None:
    images, texts = make(sentence_clip), make(sentence_clip, encode="text")
    check_extractor(images, photos)
    check_extractor(texts, TEXTS)
    assert images.space == texts.space
    assert images.space.fingerprint["library"] == "sentence-transformers"
    plain = make(models["clip"])
    np.testing.assert_allclose(images.extract(photos), plain.extract(photos), atol=1e-5)
    assert images.space.differences(plain.space)
    assert images.space.fingerprint["images"] == [plain.space.fingerprint["images"]]
    assert make(sentence_clip, library="transformers").space.fingerprint == plain.space.fingerprint
    (note,) = extraction_notes(texts, ["sea " * 40])
    assert note == "1 of 1 texts is longer than 16 tokens; the rest of it is not read."
    with pytest.raises(InputError, match="pooling is part of a model of sentence-transformers"):
        make(sentence_clip, pooling="cls")


def test_everything_that_changes_vectors_is_in_the_fingerprint(models: Models, tmp_path: Path) -> None:
    first = make(models["vit"]).space.fingerprint
    assert make(models["vit"], convert=True, batch_size=3).space.fingerprint == first
    for options in ({"pooling": "cls"}, {"normalize": False}):
        assert make(models["vit"], **options).space.fingerprint != first
    copy = shutil.copytree(models["vit"], tmp_path / "copy")
    assert make(copy).space.fingerprint == first
    file = copy / "preprocessor_config.json"
    settings = json.loads(file.read_text())
    for change in ({"resample": 0}, {"image_mean": [0.1, 0.2, 0.3]}, {"do_normalize": False}):
        file.write_text(json.dumps({**settings, **change}))
        assert make(copy).space.fingerprint != first
    texts = shutil.copytree(models["clip"], tmp_path / "texts")
    tokenizer = texts / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + "\n")
    assert [line.split(":")[0] for line in make(texts).space.differences(make(models["clip"]).space)] == [
        "name",
        "fingerprint.tokenizer",
    ]


def test_weights_that_would_be_random_are_refused(models: Models, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    copy = shutil.copytree(models["dinov2"], tmp_path / "copy")
    weights = load_file(copy / "model.safetensors")
    absent = next(name for name in weights if "layer" in name)
    save_file(
        {name: value for name, value in weights.items() if name != absent},
        copy / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(InputError, match="lacks weights of Dinov2Model, which would be random: "):
        make(copy)
    with pytest.raises(InputError, match="has no weights for its pooler. Pass pooling='cls', or nothing"):
        make(models["classifier"], pooling="pooler")
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(InputError, match="must be the folder of an image model of transformers with safetensors"):
        make(copy)


def test_models_and_options_that_do_not_fit(models: Models, tmp_path: Path, write_image_graph: Any) -> None:
    for name, options, message in (
        ("dinov2", {"encode": "text"}, "encode='text' needs a model of images and texts. .*dinov2' is of images"),
        ("dinov2", {"encode": "query"}, "encode must be 'image' or 'text'. Got 'query'"),
        ("clip", {"pooling": "cls"}, "pooling is for models of images alone"),
        ("vit", {"pooling": "mean"}, "pooling must be 'pooler' or 'cls'. Got 'mean'"),
        ("resnet", {"pooling": "cls"}, "pooling='cls' is for models of tokens. This one has maps"),
        ("vit", {"library": "torch"}, "library must be 'sentence-transformers', 'transformers' or 'timm'. Got 'torch'"),
        ("vit", {"batch_size": 0}, "batch_size must be a positive integer. Got 0"),
        ("vit", {"max_pixels": 0}, "max_pixels must be from 1"),
    ):
        with pytest.raises(InputError, match=message):
            make(models[name], **options)
    for damage in (None, "{", "[]"):
        if damage is not None:
            (tmp_path / "config.json").write_text(damage)
        with pytest.raises(InputError, match="must be the folder of an image model of transformers"):
            make(tmp_path)


def test_a_model_of_texts_is_refused(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    BertModel(BertConfig(vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)).save_pretrained(
        tmp_path
    )
    with pytest.raises(InputError, match="must be the folder of an image model of transformers"):
        make(tmp_path)


def test_bad_images_are_named_or_skipped_and_listed(models: Models, photos: Photos, tmp_path: Path) -> None:
    extractor = make(models["vit"])
    (tmp_path / "empty.jpg").touch()
    items = [photos[0], tmp_path / "empty.jpg", photos[1][:, :, 0], b"broken", photos[2]]
    skipped: list[SkippedItem] = []
    embeddings = extract_embeddings(extractor, items, on_skip=skipped.append)
    assert embeddings.ids.tolist() == ["0", "4"]
    assert [item.row for item in skipped] == [1, 2, 3]
    assert "must be an RGB image. Got mode 'L'" in skipped[1].reason
    converting = make(models["vit"], convert=True)
    assert extract_embeddings(converting, items, on_skip=skipped.append).ids.tolist() == ["0", "2", "4"]


def test_a_photo_is_upright(models: Models, photos: Photos, tmp_path: Path) -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.fromarray(photos[0]).rotate(90, expand=True).save(tmp_path / "turned.png", exif=tags)
    extractor = make(models["clip"])
    np.testing.assert_allclose(extractor.extract([tmp_path / "turned.png"]), extractor.extract(photos[:1]), atol=1e-5)


def test_the_command_line(models: Models, files: Path, tmp_path: Path) -> None:
    def embed(source: Path, out: str, *options: str) -> dict[str, Any]:
        command = ["embed", str(source), "-e", "image", "-m", str(models["clip"]), "-o", str(tmp_path / out), "--json"]
        result = CliRunner().invoke(app, [*command, *options], standalone_mode=False, catch_exceptions=False)
        return dict(json.loads(result.stdout))

    embed(files, "images.parquet")
    images = Embeddings.load(tmp_path / "images.parquet")
    assert images.ids.tolist() == ["sea/1.png", "sea/2.png", "town/1.png"]
    assert images.labels is not None
    assert images.labels.tolist() == ["sea", "sea", "town"]
    (tmp_path / "queries.txt").write_text("\n".join(TEXTS) + "\n")
    embed(tmp_path / "queries.txt", "texts.parquet", "--option", "encode=text")
    assert Embeddings.load(tmp_path / "texts.parquet").space == images.space


def test_what_is_missing_is_named(models: Models, sentence_clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'embcompat-image\[transformers\]'"):
        load_extractor("image", models["vit"])
    with pytest.raises(MissingExtraError, match=r"pip install 'embcompat-image\[sentence-transformers\]'"):
        load_extractor("image", sentence_clip)
    with pytest.raises(MissingExtraError, match=r"pip install 'embcompat-image\[transformers\]'"):
        load_extractor("image", "someone/some-model")


def test_a_name_on_the_hub_is_found_in_its_cache(
    models: Models, sentence_clip: Path, photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hub cache as a download leaves it; nothing is fetched."""
    commit = "c9745ed1d9f207416be6d2e6f8de32d1f16199bf"
    for name, folder in (("Vit", models["vit"]), ("Clip", sentence_clip)):
        cached = tmp_path / f"models--someone--{name}"
        shutil.copytree(folder, cached / "snapshots" / commit)
        (cached / "refs").mkdir()
        (cached / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    vit = ImageExtractor("someone/Vit", device="cpu")
    assert vit.space.name == "vit"
    assert vit.space.fingerprint == make(models["vit"]).space.fingerprint
    clip = ImageExtractor("someone/Clip", device="cpu", revision=commit)
    assert clip.space.fingerprint == make(sentence_clip).space.fingerprint
    with pytest.raises(InputError, match="'clip-ViT' must be the folder of a sentence-transformers model"):
        ImageExtractor("clip-ViT", device="cpu")
    with pytest.raises(InputError, match="'someone/else' must be the folder of an image model .* or its name on the"):
        ImageExtractor("someone/else", device="cpu")
