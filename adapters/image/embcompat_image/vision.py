"""Image models of transformers: pairs of towers such as CLIP and SigLIP, and models of images alone such as DINOv2."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import JsonValue

from embcompat.errors import InputError, MissingExtraError
from embcompat.extractors.checkpoints import quiet_transformers
from embcompat.spaces import Similarity
from embcompat_image.encoders import Pooling
from embcompat_image.processors import describe_processor


@final
class TransformersEncoder:
    """A model of transformers that embeds images.

    Weights are read as float32 whatever they were saved as, and images are prepared by Pillow, so that a vector does
    not hang on which packages are installed.

    Args:
        model: A folder, or a name on the hub.
        pooling: What of a model of images alone is the vector: ``pooler``, its own pooled output, or ``cls``, its
            first token. When None, its pooled output, or the first token where it has no weights for that.
        device: torch device; the fastest available when None.
        revision: Branch, tag or commit on the hub.

    Raises:
        MissingExtraError: If transformers or torch is not installed.
        InputError: If the model cannot be loaded, lacks weights, embeds no images, or has no such pooling.
    """

    def __init__(self, model: str | Path, *, pooling: Pooling | None, device: str | None, revision: str | None) -> None:
        try:
            import torch
            from transformers import AutoImageProcessor, AutoModel, AutoTokenizer
        except ImportError as error:
            raise MissingExtraError(
                error.name or "transformers", "embcompat-image[transformers]", "An image model"
            ) from error
        self._torch, self._path = torch, str(model)
        self._device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        options: dict[str, Any] = {"revision": revision, "local_files_only": Path(model).is_dir()}
        tokenizers: Any = AutoTokenizer  # their methods have no types
        processors: Any = AutoImageProcessor
        try:
            with quiet_transformers(reports=False):  # what is missing is checked below
                loaded, report = AutoModel.from_pretrained(
                    self._path, use_safetensors=True, output_loading_info=True, dtype=torch.float32, **options
                )
                self._processor: Any = processors.from_pretrained(self._path, backend="pil", **options)
                self._model: Any = loaded.to(self._device).eval()
                self._towers = hasattr(loaded, "get_image_features")
                has_texts = hasattr(loaded, "get_text_features")
                self._tokenizer: Any = tokenizers.from_pretrained(self._path, **options) if has_texts else None
        except Exception as error:  # transformers raises whatever its parts raise
            raise InputError(
                f"{self._path!r} must be the folder of an image model of transformers with safetensors weights, or its "
                f"name on the hub. It cannot be loaded: {error}"
            ) from error
        self._pooling = self._choose_pooling(pooling, report["missing_keys"])

    @property
    def similarity(self) -> Similarity:
        """How its vectors are compared."""
        return "cosine"

    @property
    def fingerprint(self) -> dict[str, JsonValue]:
        """Whatever changes its vectors, weights and tokenizer aside."""
        return {
            "library": "transformers",
            "architecture": type(self._model).__name__,
            "pooling": self._pooling,
            "images": describe_processor(self._processor),
            "max_length": None if self._tokenizer is None else self._limit(),
        }

    def encode_images(self, images: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed RGB images (height, width, 3) as (n, dim)."""
        prepared = [self._processor(images=[Image.fromarray(image)], return_tensors="pt") for image in images]
        inputs = {name: self._torch.cat([each[name] for each in prepared]) for name in prepared[0]}
        return self._run("get_image_features" if self._towers else None, inputs)

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts as (n, dim), each padded to what the model reads, as SigLIP was trained."""
        inputs = self._tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=self._limit(), return_tensors="pt"
        )
        return self._run("get_text_features", dict(inputs))

    def text_lengths(self, texts: Sequence[str]) -> tuple[list[int], int] | None:
        """Return the tokens of each text and how many the model reads; None where it has no text side."""
        if self._tokenizer is None:
            return None
        encoded = self._tokenizer(list(texts), truncation=False, padding=False, verbose=False)["input_ids"]
        return [len(ids) for ids in encoded], self._limit()

    def _limit(self) -> int:
        return int(self._model.config.text_config.max_position_embeddings)

    def _run(self, method: str | None, inputs: dict[str, Any]) -> NDArray[np.float32]:
        call = self._model if method is None else getattr(self._model, method)
        with self._torch.inference_mode():
            outputs = call(**{name: value.to(self._device) for name, value in inputs.items()})
            vectors = outputs.last_hidden_state[:, 0] if self._pooling == "cls" else outputs.pooler_output
        return np.ascontiguousarray(vectors.flatten(1).cpu().numpy(), dtype=np.float32)

    def _choose_pooling(self, pooling: Pooling | None, missing: set[str]) -> str:
        """Refuse weights that would be random, and a pooling that the model does not have."""
        if pooling not in (None, "pooler", "cls"):
            raise InputError(f"pooling must be 'pooler' or 'cls'. Got {pooling!r}.")
        pooler = {name for name in missing if name.startswith("pooler.")}
        if rest := sorted(missing - pooler):
            raise InputError(
                f"{self._path!r} lacks weights of {type(self._model).__name__}, which would be random: "
                f"{', '.join(rest[:3])}{', …' if len(rest) > 3 else ''}."
            )
        if self._towers:
            if pooling is not None:
                raise InputError("pooling is for models of images alone. This one projects images and texts itself.")
            return "projection"
        if pooler and pooling == "pooler":
            raise InputError(f"{self._path!r} has no weights for its pooler. Pass pooling='cls', or nothing.")
        self._pooling = "pooler"
        outputs = self._probe()
        tokens = outputs.last_hidden_state.ndim == 3
        if pooling == "cls" and not tokens:
            raise InputError("pooling='cls' is for models of tokens. This one has maps: pass 'pooler', or nothing.")
        has_pooler = getattr(outputs, "pooler_output", None) is not None and not pooler
        if not has_pooler and (pooling == "pooler" or not tokens):
            raise InputError(f"{self._path!r} has no pooled output. Pass pooling='cls' if its first token is one.")
        return "pooler" if pooling != "cls" and has_pooler else "cls"

    def _probe(self) -> Any:
        """Return what the model gives for one black image."""
        try:
            inputs = self._processor(images=[Image.new("RGB", (64, 64))], return_tensors="pt").to(self._device)
            with self._torch.inference_mode():
                outputs = self._model(**inputs)
            if not hasattr(outputs, "last_hidden_state"):
                raise InputError("it has no hidden state")
        except Exception as error:  # a model of something else than images fails as it likes
            raise InputError(f"{self._path!r} must be a model of images. It fails on one: {error}") from error
        return outputs
