"""Which library opens a model, and what every opened model can do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from embcompat.errors import MissingExtraError
from embcompat.spaces import Similarity

Library = Literal["sentence-transformers", "transformers"]
Pooling = Literal["pooler", "cls"]


class Encoder(Protocol):
    """An opened model."""

    @property
    def similarity(self) -> Similarity:
        """How its vectors are compared."""

    @property
    def fingerprint(self) -> dict[str, JsonValue]:
        """Whatever changes its vectors, weights and tokenizer aside."""

    def encode_images(self, images: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed RGB images (height, width, 3) as (n, dim)."""

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts as (n, dim)."""

    def text_lengths(self, texts: Sequence[str]) -> tuple[list[int], int] | None:
        """Return the tokens of each text and how many the model reads; None where it has no text side."""


def choose_library(model: str | Path, revision: str | None) -> Library:
    """Return the library that a model was saved with: sentence-transformers writes ``modules.json``.

    Raises:
        MissingExtraError: If transformers is not installed.
    """
    if Path(model).is_dir():
        return "sentence-transformers" if (Path(model) / "modules.json").is_file() else "transformers"
    try:
        from transformers.utils.hub import cached_file
    except ImportError as error:
        raise MissingExtraError(
            error.name or "transformers", "embcompat-image[transformers]", "An image model"
        ) from error
    if "/" not in str(model):
        return "sentence-transformers"  # short names mean that organisation
    try:
        cached_file(str(model), "modules.json", revision=revision)
    except OSError:  # no such file; where there is no such model, loading it says so
        return "transformers"
    return "sentence-transformers"
