"""Image models of sentence-transformers: CLIP, SigLIP and others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import JsonValue

from embcompat.errors import InputError
from embcompat.extractors.checkpoints import model_similarity, open_sentence_transformer
from embcompat.spaces import Similarity
from embcompat_image.processors import describe_processor


@final
class SentenceEncoder:
    """A model of sentence-transformers that embeds images.

    Args:
        model: A folder, or a name on the hub.
        device: torch device; the fastest available when None.
        revision: Branch, tag or commit on the hub.

    Raises:
        MissingExtraError: If sentence-transformers is not installed.
        InputError: If the model cannot be loaded, or embeds no images.
    """

    def __init__(self, model: str | Path, *, device: str | None, revision: str | None) -> None:
        self._model: Any = open_sentence_transformer(
            model, device=device, revision=revision, quiet=True, extra="embcompat-image[sentence-transformers]"
        )
        self._model.float()
        if "image" not in self._model.modalities:
            raise InputError(
                f"{str(model)!r} must embed images. It embeds {', '.join(map(str, self._model.modalities))} alone; the "
                "extractor sentence-transformers of embcompat-text takes models of texts."
            )
        self._reads_texts = "text" in self._model.modalities

    @property
    def similarity(self) -> Similarity:
        """How its vectors are compared."""
        return model_similarity(self._model)

    @property
    def fingerprint(self) -> dict[str, JsonValue]:
        """Whatever changes its vectors, weights and tokenizer aside."""
        return {
            "library": "sentence-transformers",
            "modules": [type(module).__name__ for module in self._model],
            "images": [describe_processor(processor) for processor in self._processors()],
            "prompt": self._model.prompts.get(self._model.default_prompt_name or "") or "",
            "max_length": self._model.max_seq_length,
        }

    def encode_images(self, images: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed RGB images (height, width, 3) as (n, dim)."""
        return self._encode([Image.fromarray(image) for image in images])

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts as (n, dim)."""
        return self._encode(list(texts))

    def text_lengths(self, texts: Sequence[str]) -> tuple[list[int], int] | None:
        """Return the tokens of each text and how many the model reads; None where it has no text side."""
        limit = self._model.max_seq_length
        if not self._reads_texts or not isinstance(limit, int):
            return None
        encoded = self._model.tokenizer(list(texts), truncation=False, padding=False, verbose=False)["input_ids"]
        return [len(ids) for ids in encoded], limit

    def _processors(self) -> list[Any]:
        """Return the image processors of all modules, those of a router's routes among them."""
        parts = (part for part in self._model.modules() if part is not self._model)
        processors = [getattr(part, "processor", None) for part in parts]
        images = [getattr(processor, "image_processor", processor) for processor in processors]
        return [processor for processor in images if hasattr(processor, "to_dict")]

    def _encode(self, items: list[Any]) -> NDArray[np.float32]:
        vectors = self._model.encode(items, batch_size=max(1, len(items)), show_progress_bar=False)
        return np.ascontiguousarray(vectors, dtype=np.float32)
