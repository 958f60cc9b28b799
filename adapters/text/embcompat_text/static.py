"""Static embeddings: one vector a token, averaged; numpy and tokenizers only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from embcompat.embeddings import normalize_rows
from embcompat.errors import ExtractionError, InputError
from embcompat.extractors import check_texts, length_notes, usable_texts
from embcompat.extractors.models import sha256_of, space_name
from embcompat.spaces import SpaceVersion
from embcompat_text.batches import read_tokenizer

MAX_LENGTH = 512
"""Tokens of a text that are read."""


@final
class StaticTextExtractor:
    """A table of token vectors in the safetensors form of model2vec: a text is the weighted mean of its known tokens.

    The file holds ``embeddings`` (rows, dim) and, where tokens share rows or count differently, ``mapping`` (token →
    row) and ``weights`` (token → weight). Vectors have unit norm.

    Args:
        model: The safetensors file.
        tokenizer: The ``tokenizer.json`` that fits it.
        name: Name of the space; made from the folder's name when None.
        version: Version of the space; the first 12 digits of the table's digest when None.

    Raises:
        InputError: If a file cannot be used.
    """

    def __init__(
        self, model: str | Path, tokenizer: str | Path, *, name: str | None = None, version: str | None = None
    ) -> None:
        model, tokenizer = Path(model), Path(tokenizer)
        if not model.is_file():
            raise InputError(f"{model} does not exist. Pass a model.safetensors and the tokenizer.json that fits.")
        self._tokenizer = read_tokenizer(tokenizer)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()  # the cut is made on the ids, which is what the model was trained with
        self._unknown = _unknown_token(self._tokenizer)
        self._characters = MAX_LENGTH * int(np.median([len(token) for token in self._tokenizer.get_vocab()]))
        self._table, self._mapping, self._weights = _read_table(model, self._tokenizer.get_vocab_size())
        digest = sha256_of(model)
        self._space = SpaceVersion(
            name=name or space_name(model.parent.name),
            version=version or digest[:12],
            dim=self._table.shape[1],
            similarity="cosine",
            normalized=True,
            modality="text",
            fingerprint={
                "weights": f"sha256:{digest}",
                "tokenizer": f"sha256:{sha256_of(tokenizer)}",
                "pooling": "mean of known tokens",
                "prompt": "",
                "max_length": MAX_LENGTH,
                "normalize": True,
            },
        )

    def __repr__(self) -> str:
        return f"StaticTextExtractor(space={self._space.id!r}, dim={self._space.dim})"

    @property
    def space(self) -> SpaceVersion:
        """The space of the vectors."""
        return self._space

    @property
    def chunk_size(self) -> int:
        """Texts to hand over in one call."""
        return 1024

    def extract(self, items: Sequence[Any]) -> NDArray[np.float32]:
        """Embed texts.

        Raises:
            ExtractionError: If an item is not a string, or has no token.
        """
        texts = check_texts(items)
        result = np.empty((len(texts), self._space.dim), dtype=np.float32)
        cut = [text[: self._characters] for text in texts]
        for row, encoding in enumerate(self._tokenizer.encode_batch(cut, add_special_tokens=False)):
            ids = np.array([token for token in encoding.ids[:MAX_LENGTH] if token != self._unknown], dtype=np.intp)
            if len(ids) == 0:
                raise ExtractionError(f"a text must have at least one token that is known. Got {texts[row]!r:.80}")
            result[row] = self._weights[ids] @ self._table[self._mapping[ids]]
        return normalize_rows(result)  # the mean and the weighted sum differ in length only

    def notes(self, items: Sequence[Any]) -> list[str]:
        """Say how many texts are longer than the model reads."""
        encoded = self._tokenizer.encode_batch(usable_texts(items), add_special_tokens=False)
        return length_notes([len(encoding.ids) for encoding in encoded], MAX_LENGTH)


def _unknown_token(tokenizer: Tokenizer) -> int | None:
    """Return the number of the token that stands for unknown text, which model2vec leaves out of the mean."""
    model = json.loads(tokenizer.to_str())["model"]
    if model.get("unk_id") is not None:
        return int(model["unk_id"])
    token = model.get("unk_token")
    return None if token is None else tokenizer.token_to_id(token)


def _read_table(path: Path, tokens: int) -> tuple[NDArray[np.float32], NDArray[np.intp], NDArray[np.float32]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path} is not a complete safetensors file: {error}") from error
    table = arrays.get("embeddings")
    if table is None or table.ndim != 2:
        raise InputError(f"{path} must hold embeddings (rows, dim). Got {sorted(arrays)}.")
    mapping = arrays.get("mapping", np.arange(len(table))).astype(np.intp)
    weights = arrays.get("weights", np.ones(len(mapping))).astype(np.float32)
    if len(mapping) < tokens or len(weights) < len(mapping) or mapping.max(initial=0) >= len(table):
        raise InputError(
            f"{path} must have a row for each of the tokenizer's {tokens} tokens. Got {len(mapping)} tokens, "
            f"{len(weights)} weights and {len(table)} rows."
        )
    return table.astype(np.float32), mapping, weights
