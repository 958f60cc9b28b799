"""Image models of timm."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import JsonValue

from embcompat.errors import InputError, MissingExtraError
from embcompat.spaces import Similarity


@final
class TimmEncoder:
    """A model of timm without its classifier: the pooled features.

    Args:
        model: A folder, or a name on the hub.
        device: torch device; the fastest available when None.
        revision: Branch, tag or commit on the hub.

    Raises:
        MissingExtraError: If timm, or the torchvision that it needs, is not installed.
        InputError: If the model cannot be loaded.
    """

    def __init__(self, model: str | Path, *, device: str | None, revision: str | None) -> None:
        try:
            import timm
            import timm.data
            import torch
        except ImportError as error:
            raise MissingExtraError(error.name or "timm", "embcompat-image[timm]", "A timm model") from error
        except RuntimeError as error:  # torchvision that was built for another torch
            raise InputError(
                f"timm cannot be imported: {error}. Install the torchvision that fits your torch."
            ) from error
        self._torch: Any = torch
        self._device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        source = (
            f"local-dir:{model}" if Path(model).is_dir() else f"hf-hub:{model}" + (f"@{revision}" if revision else "")
        )
        try:
            loaded: Any = timm.create_model(source, pretrained=True, num_classes=0)
        except Exception as error:  # timm raises whatever its parts raise
            raise InputError(f"{str(model)!r} cannot be loaded by timm: {error}") from error
        self._model: Any = loaded.float().to(self._device).eval()
        self._settings: dict[str, Any] = timm.data.resolve_model_data_config(loaded)
        self._transform: Any = timm.data.create_transform(**self._settings, is_training=False)

    @property
    def similarity(self) -> Similarity:
        """How its vectors are compared."""
        return "cosine"

    @property
    def fingerprint(self) -> dict[str, JsonValue]:
        """Whatever changes its vectors, weights aside."""
        plain: dict[str, JsonValue] = json.loads(json.dumps(self._settings, sort_keys=True, default=str))
        return {
            "library": "timm",
            "architecture": str(self._model.pretrained_cfg["architecture"]),
            "pooling": str(getattr(self._model, "global_pool", "pooler")),
            "images": plain,
            "max_length": None,
        }

    def encode_images(self, images: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed RGB images (height, width, 3) as (n, dim)."""
        batch = self._torch.stack([self._transform(Image.fromarray(image)) for image in images])
        with self._torch.inference_mode():
            vectors = self._model(batch.to(self._device))
        return np.ascontiguousarray(vectors.flatten(1).cpu().numpy(), dtype=np.float32)

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Refuse texts: these models embed images alone.

        Raises:
            InputError: Always.
        """
        raise InputError(f"a timm model embeds no texts. Got {len(texts)}.")

    def text_lengths(self, texts: Sequence[str]) -> tuple[list[int], int] | None:  # noqa: ARG002
        """Return None: there is no text side."""
        return None
