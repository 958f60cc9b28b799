"""Image models by name or folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from embcompat.embeddings import normalize_rows
from embcompat.errors import ExtractionError, InputError
from embcompat.extractors import check_batch_size, check_texts, length_notes, usable_texts
from embcompat.extractors.checkpoints import checkpoint_folder, tokenizer_digest, weights_digest
from embcompat.extractors.images import MAX_PIXELS, check_max_pixels, describe, load_image
from embcompat.extractors.models import space_name
from embcompat.spaces import SpaceVersion
from embcompat_image.encoders import Encoder, Library, Pooling, choose_library

ImageSide = Literal["image", "text"]


@final
class ImageExtractor:
    """CLIP, SigLIP, DINOv2, ViT and other models of sentence-transformers, transformers and timm, by name or folder.

    Weights are read from safetensors only. The fingerprint of the space covers the digests of weights and tokenizer,
    how images are prepared, pooling, length limit and normalization. Images and texts of one model are one space.

    Args:
        model_name_or_path: A folder, or a name that the library downloads once.
        encode: What the items are: ``image``, or ``text`` for models that embed both.
        pooling: What of a model of images alone is the vector: ``pooler``, its own pooled output, or ``cls``, its
            first token. When None, its pooled output, or the first token where it has no weights for that.
        normalize: Whether vectors are scaled to unit norm.
        library: ``sentence-transformers``, ``transformers`` or ``timm``; the one that saved the model when None.
        convert: Whether images that are not RGB are converted; refused otherwise. See `load_image`.
        max_pixels: Largest image that is decoded.
        batch_size: Items that go through the network together.
        device: torch device; the fastest available when None.
        revision: Branch, tag or commit on the hub.
        name: Name of the space; made from the model's name when None.
        version: Version of the space; the first 12 digits of the weights' digest when None.

    Raises:
        MissingExtraError: If the library is not installed.
        InputError: If the model cannot be loaded, has no safetensors weights or lacks some, embeds no images or no
            texts, or an option does not fit it.
    """

    def __init__(
        self,
        model_name_or_path: str | Path,
        *,
        encode: ImageSide = "image",
        pooling: Pooling | None = None,
        normalize: bool = True,
        library: Library | None = None,
        convert: bool = False,
        max_pixels: int = MAX_PIXELS,
        batch_size: int = 16,
        device: str | None = None,
        revision: str | None = None,
        name: str | None = None,
        version: str | None = None,
    ) -> None:
        if encode not in ("image", "text"):
            raise InputError(f"encode must be 'image' or 'text'. Got {encode!r}.")
        self._encode, self._normalize, self._convert = encode, normalize, convert
        self._batch_size, self._max_pixels = check_batch_size(batch_size), check_max_pixels(max_pixels)
        self._encoder = _open(model_name_or_path, library, pooling=pooling, device=device, revision=revision)
        reads_texts = self._encoder.text_lengths(["a"]) is not None
        if encode == "text" and not reads_texts:
            raise InputError(
                f"encode='text' needs a model of images and texts. {str(model_name_or_path)!r} is of images."
            )
        folder = checkpoint_folder(str(model_name_or_path), revision)
        weights = weights_digest(folder)
        dim = self._encoder.encode_images([np.zeros((64, 64, 3), dtype=np.uint8)]).shape[1]
        self._space = SpaceVersion(
            name=name or space_name(str(model_name_or_path)),
            version=version or weights[:12],
            dim=dim,
            similarity=self._encoder.similarity,
            normalized=normalize,
            modality="image",
            fingerprint={
                "weights": f"sha256:{weights}",
                "tokenizer": f"sha256:{tokenizer_digest(folder)}" if reads_texts else None,
                **self._encoder.fingerprint,
                "normalize": normalize,
            },
        )

    def __repr__(self) -> str:
        return f"ImageExtractor(space={self._space.id!r}, dim={self._space.dim}, encode={self._encode!r})"

    @property
    def space(self) -> SpaceVersion:
        """The space of the vectors."""
        return self._space

    @property
    def chunk_size(self) -> int:
        """Items to hand over in one call."""
        return self._batch_size

    def extract(self, items: Sequence[Any]) -> NDArray[np.float32]:
        """Embed images, or texts where ``encode`` is ``text``.

        Args:
            items: Paths, bytes of image files, PIL images or uint8 arrays (height, width, 3) in RGB order; or texts.

        Raises:
            ExtractionError: If an item is not a usable image or text; names it.
        """
        vectors = np.empty((len(items), self._space.dim), dtype=np.float32)
        for start in range(0, len(items), self._batch_size):
            batch = items[start : start + self._batch_size]
            vectors[start : start + len(batch)] = self._embed(batch)
        return normalize_rows(vectors) if self._normalize else vectors

    def notes(self, items: Sequence[Any]) -> list[str]:
        """Say how many texts are longer than the model reads."""
        texts = usable_texts(items) if self._encode == "text" else []
        lengths = self._encoder.text_lengths(texts) if texts else None
        return [] if lengths is None else length_notes(*lengths)

    def _embed(self, items: Sequence[Any]) -> NDArray[np.float32]:
        if self._encode == "text":
            return self._encoder.encode_texts(check_texts(items))
        images = [load_image(item, convert=self._convert, max_pixels=self._max_pixels) for item in items]
        try:
            return self._encoder.encode_images(images)
        except Exception as error:  # a processor refuses what it likes, a line of one pixel for instance
            name = describe(items[0]) if len(items) == 1 else f"{len(items)} images"
            raise ExtractionError(f"the model fails on {name}: {error}") from error


def _open(
    model: str | Path, library: Library | None, *, pooling: Pooling | None, device: str | None, revision: str | None
) -> Encoder:
    if library not in (None, "sentence-transformers", "transformers", "timm"):
        raise InputError(f"library must be 'sentence-transformers', 'transformers' or 'timm'. Got {library!r}.")
    library = library or choose_library(model, revision)
    if library == "transformers":
        from embcompat_image.vision import TransformersEncoder

        return TransformersEncoder(model, pooling=pooling, device=device, revision=revision)
    if pooling is not None:
        raise InputError(f"pooling is part of a model of {library}. It can be chosen for models of transformers.")
    if library == "timm":
        from embcompat_image.backbones import TimmEncoder

        return TimmEncoder(model, device=device, revision=revision)
    from embcompat_image.sentence import SentenceEncoder

    return SentenceEncoder(model, device=device, revision=revision)
