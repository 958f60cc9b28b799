"""Sentence-transformers models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from embcompat.errors import InputError
from embcompat.extractors import Side, check_batch_size, check_texts, choose_prompt, length_notes, usable_texts
from embcompat.extractors.checkpoints import (
    checkpoint_folder,
    model_similarity,
    open_sentence_transformer,
    tokenizer_digest,
    weights_digest,
)
from embcompat.extractors.models import space_name
from embcompat.spaces import SpaceVersion
from embcompat_text.batches import CHUNK_BATCHES

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


@final
class SentenceTransformerExtractor:
    """Any sentence-transformers model, from a folder or by its name on the model hub.

    Weights are read from safetensors only. The fingerprint of the space covers the digests of weights and tokenizer,
    pooling, prompt, truncation, length limit and normalization, so a copy in another folder is the same space and the
    same model with another prompt is not.

    Args:
        model_name_or_path: A folder, or a name that sentence-transformers downloads once.
        prompt: Put before each text: one for all, or a mapping with the keys ``query`` and ``document``, of which
            ``encode`` chooses. None takes the model's own.
        encode: ``query`` or ``document`` for models that treat the two sides differently (``encode_query`` and
            ``encode_document`` of sentence-transformers). Both sides are one space.
        truncate_dim: Keep the first so many numbers of each vector, for models trained to allow it.
        batch_size: Texts that go through the network together.
        device: torch device; the fastest available when None.
        progress: Show a bar for each call of `extract`.
        revision: Branch, tag or commit on the hub.
        name: Name of the space; made from the model's name when None.
        version: Version of the space; the first 12 digits of the weights' digest when None.

    Raises:
        InputError: If the model cannot be loaded or has no safetensors weights, or an option does not fit it.
    """

    def __init__(
        self,
        model_name_or_path: str | Path,
        *,
        prompt: str | Mapping[str, str] | None = None,
        encode: Side | None = None,
        truncate_dim: int | None = None,
        batch_size: int = 32,
        device: str | None = None,
        progress: bool = False,
        revision: str | None = None,
        name: str | None = None,
        version: str | None = None,
    ) -> None:
        if truncate_dim is not None and truncate_dim < 1:
            raise InputError(f"truncate_dim must be a positive integer. Got {truncate_dim}.")
        self._batch_size = check_batch_size(batch_size)
        self._progress, self._encode = progress, encode
        self._model = open_sentence_transformer(
            model_name_or_path,
            device=device,
            revision=revision,
            quiet=not progress,
            extra="embcompat-text[sentence-transformers]",
        )
        if isinstance(prompt, Mapping):
            self._prompt = choose_prompt(prompt, encode)
        elif prompt is not None or encode is None:
            self._prompt = choose_prompt(_default_prompt(self._model) if prompt is None else prompt, encode)
        else:
            self._prompt = choose_prompt(_own_prompts(self._model), encode)
        self._unchosen = prompt is None and encode is None and not self._prompt.prefix and _is_asymmetric(self._model)
        modules = [type(module).__name__ for module in self._model]
        self._normalize = "Normalize" in modules
        self._truncate_dim = truncate_dim
        folder = checkpoint_folder(str(model_name_or_path), revision)
        weights = weights_digest(folder)
        dim = self._encode_texts([""]).shape[1]
        if truncate_dim is not None and dim != truncate_dim:
            raise InputError(f"truncate_dim must be at most {dim}, the length of the vectors. Got {truncate_dim}.")
        self._space = SpaceVersion(
            name=name or space_name(str(model_name_or_path)),
            version=version or weights[:12],
            dim=dim,
            similarity=model_similarity(self._model),
            normalized=self._normalize,
            modality="text",
            fingerprint={
                "weights": f"sha256:{weights}",
                "tokenizer": f"sha256:{tokenizer_digest(folder)}",
                "modules": list(modules),
                "pooling": _pooling(self._model),
                "prompt": self._prompt.fingerprint,
                "max_length": self._model.max_seq_length,
                "truncate_dim": truncate_dim,
                "normalize": self._normalize,
            },
        )

    def __repr__(self) -> str:
        return f"SentenceTransformerExtractor(space={self._space.id!r}, dim={self._space.dim})"

    @property
    def space(self) -> SpaceVersion:
        """The space of the vectors."""
        return self._space

    @property
    def chunk_size(self) -> int:
        """Texts to hand over in one call."""
        return CHUNK_BATCHES * self._batch_size

    def extract(self, items: Sequence[Any]) -> NDArray[np.float32]:
        """Embed texts.

        Raises:
            ExtractionError: If an item is not a string.
        """
        texts = check_texts(items)
        if not texts:
            return np.empty((0, self._space.dim), dtype=np.float32)
        return self._encode_texts(texts)

    def notes(self, items: Sequence[Any]) -> list[str]:
        """Say how many texts are longer than the model reads, and whether it has prompts of which none is used."""
        notes = []
        if self._unchosen:
            prompts = ", ".join(f"{side} {prompt!r}" for side, prompt in _own_prompts(self._model).items())
            notes.append(
                f"The model treats queries and documents differently ({prompts}), and no side is chosen: texts are "
                "embedded without a prompt. Pass encode='query' or encode='document' (--option encode=document)."
            )
        limit, tokenizer = self._model.max_seq_length, self._model.tokenizer
        texts = [self._prompt.prefix + text for text in usable_texts(items)]
        if not texts or not isinstance(limit, int) or not callable(tokenizer):
            return notes
        encoded = tokenizer(texts, truncation=False, padding=False, verbose=False)["input_ids"]
        return [*notes, *length_notes([len(ids) for ids in encoded], limit)]

    def _encode_texts(self, texts: list[str]) -> NDArray[np.float32]:
        method = "encode" if self._encode is None else f"encode_{self._encode}"
        vectors = getattr(self._model, method)(
            texts,
            prompt=self._prompt.prefix,
            batch_size=self._batch_size,
            show_progress_bar=self._progress,
            normalize_embeddings=self._normalize,  # again after truncation, which leaves no unit norm
            truncate_dim=self._truncate_dim,
        )
        return np.ascontiguousarray(vectors, dtype=np.float32)


def _default_prompt(model: SentenceTransformer) -> str:
    return model.prompts.get(model.default_prompt_name or "") or ""


def _own_prompts(model: SentenceTransformer) -> dict[str, str]:
    """Return the model's prompt for each side; sentence-transformers has both in every model."""
    return {side: model.prompts.get(side) or "" for side in ("query", "document")}


def _is_asymmetric(model: SentenceTransformer) -> bool:
    """Say whether a model has another prompt for queries than for documents."""
    return len(set(_own_prompts(model).values())) > 1


def _pooling(model: SentenceTransformer) -> str:
    modes = [str(module.pooling_mode) for module in model if type(module).__name__ == "Pooling"]
    return "+".join(modes) or "none"
