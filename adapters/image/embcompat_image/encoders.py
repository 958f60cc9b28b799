"""Which library opens a model, and what every opened model can do."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from embcompat.errors import MissingExtraError
from embcompat.spaces import Similarity

Library = Literal["sentence-transformers", "transformers", "timm"]
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
    """Return the library that a model was saved with.

    sentence-transformers writes ``modules.json``; timm's ``config.json`` names an architecture and no model type.

    Raises:
        MissingExtraError: If transformers is not installed, which finds a name on the hub.
    """
    if Path(model).is_dir():
        saved_by_sentence_transformers = (Path(model) / "modules.json").is_file()
        config: str | Path | None = Path(model) / "config.json"
    else:
        saved_by_sentence_transformers, config = _look_up(str(model), revision)
    if saved_by_sentence_transformers:
        return "sentence-transformers"
    if config is None or not Path(config).is_file():
        # A short name means one of sentence-transformers; loading says what is wrong with any other.
        return "transformers" if "/" in str(model) or Path(model).is_dir() else "sentence-transformers"
    try:
        settings = json.loads(Path(config).read_text())
    except ValueError:  # damaged: loading says so
        return "transformers"
    return "timm" if "pretrained_cfg" in settings and "model_type" not in settings else "transformers"


def _look_up(name: str, revision: str | None) -> tuple[bool, str | None]:
    """Return whether a model on the hub has ``modules.json``, and its ``config.json``; without a network, as cached."""
    try:
        from huggingface_hub import hf_hub_download, try_to_load_from_cache
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    except ImportError as error:
        raise MissingExtraError(
            error.name or "transformers", "embcompat-image[transformers]", "An image model"
        ) from error
    try:
        hf_hub_download(name, "modules.json", revision=revision)
    except LocalEntryNotFoundError:
        cached = try_to_load_from_cache(name, "config.json", revision=revision)
        return False, cached if isinstance(cached, str) else None
    except EntryNotFoundError:
        try:
            return False, hf_hub_download(name, "config.json", revision=revision)
        except OSError:
            return False, None
    except (OSError, ValueError):  # no such model, or no name
        return False, None
    return True, None
