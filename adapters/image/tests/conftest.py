"""Real architectures with small random weights, saved as their libraries save them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from embcompat.extractors.checkpoints import quiet_transformers

TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
WORDS = ["a photo of a cat", "the astronaut and the dog", "an image of a house by the sea"]


@pytest.fixture(scope="session")
def photos() -> list[NDArray[np.uint8]]:
    """Three images of other proportions."""
    from skimage.data import astronaut

    photo = np.asarray(astronaut())
    return [np.ascontiguousarray(each) for each in (photo[:90, :120], photo[100:200, 200:300], photo[300:420, :80])]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of CLIP and SigLIP with tokenizers, DINOv2, ViT with and without a pooler, and ResNet."""
    import torch
    import transformers as tr

    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    text = {**TOWER, "vocab_size": 400, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
    image = {**TOWER, "image_size": 32, "patch_size": 8}
    alone: dict[str, Any] = {name: tr.ViTConfig(**image) for name in ("vit", "classifier")}
    classifier = tr.ViTForImageClassification(alone["classifier"])
    built = {
        "clip": tr.CLIPModel(
            tr.CLIPConfig(text_config={**text, "max_position_embeddings": 16}, vision_config=image, projection_dim=24)
        ),
        "siglip": tr.SiglipModel(
            tr.SiglipConfig(text_config={**text, "max_position_embeddings": 12}, vision_config=image)
        ),
        "dinov2": tr.Dinov2Model(tr.Dinov2Config(**TOWER, image_size=32, patch_size=8)),
        "vit": tr.ViTModel(alone["vit"]),
        "classifier": classifier,
        "resnet": tr.ResNetModel(tr.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])),
    }
    sizes = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    square = {"size": {"height": 32, "width": 32}}
    processors: dict[str, Any] = {
        "clip": tr.CLIPImageProcessorPil(**sizes),
        "siglip": tr.SiglipImageProcessorPil(**square),
        "dinov2": tr.BitImageProcessorPil(**sizes),
        "vit": tr.ViTImageProcessorPil(**square),
        "classifier": tr.ViTImageProcessorPil(**square),
        "resnet": tr.ConvNextImageProcessorPil(size={"shortest_edge": 32}),
    }
    tokenizer = small_tokenizer()
    with quiet_transformers():
        for name, model in built.items():
            model.save_pretrained(folder / name)
            processors[name].save_pretrained(folder / name)
            if name in ("clip", "siglip"):
                tokenizer.save_pretrained(folder / name)
    return {name: folder / name for name in built}


@pytest.fixture(scope="session")
def sentence_clip(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same CLIP, saved by sentence-transformers."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer

    folder = tmp_path_factory.mktemp("sentence") / "clip"
    with quiet_transformers():
        SentenceTransformer(modules=[Transformer(str(models["clip"]))], device="cpu").save(str(folder))
    return folder


def small_tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    start, end = "<|startoftext|>", "<|endoftext|>"
    tokenizer = Tokenizer(models.BPE(unk_token=end))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<pad>", start, end], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(WORDS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=[(start, 1), (end, 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=start, eos_token=end, pad_token=end, unk_token=end, model_max_length=16
    )


@pytest.fixture(scope="session")
def files(photos: list[NDArray[np.uint8]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of the photos, in folders by label."""
    folder = tmp_path_factory.mktemp("photos")
    for name, photo in zip(("sea/1.png", "sea/2.png", "town/1.png"), photos, strict=True):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(photo).save(folder / name)
    return folder
