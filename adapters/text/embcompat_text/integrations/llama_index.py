"""LlamaIndex embeddings that answer in another space."""

from __future__ import annotations

from pathlib import Path
from typing import Any, final

from embcompat.artifact import Artifact
from embcompat.errors import MissingExtraError
from embcompat.runtime import OnnxAligner
from embcompat_text.integrations import map_lists

try:
    from llama_index.core.base.embeddings.base import BaseEmbedding
    from llama_index.core.bridge.pydantic import PrivateAttr
except ImportError as error:
    raise MissingExtraError("llama-index-core", "embcompat-text[llama-index]", "AlignedEmbedding") from error


@final
class AlignedEmbedding(BaseEmbedding):
    """A LlamaIndex embedding followed by an aligner: a new model for an index that an old one filled.

    Args:
        model: The new model, of any LlamaIndex integration.
        artifact: An aligner from its space to the one of the stored vectors.
        options: What every LlamaIndex embedding takes; its name and batch size are the model's where not given.
    """

    _model: BaseEmbedding = PrivateAttr()
    _aligner: OnnxAligner = PrivateAttr()

    def __init__(self, model: BaseEmbedding, artifact: str | Path | Artifact, **options: Any) -> None:
        shared = {"model_name": model.model_name, "embed_batch_size": model.embed_batch_size}
        super().__init__(**{**shared, **options})
        self._model = model
        self._aligner = OnnxAligner(artifact)

    @classmethod
    def class_name(cls) -> str:
        """Return the name that LlamaIndex shows."""
        return "AlignedEmbedding"

    def _get_query_embedding(self, query: str) -> list[float]:
        return map_lists(self._aligner, [self._model.get_query_embedding(query)])[0]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return map_lists(self._aligner, [await self._model.aget_query_embedding(query)])[0]

    def _get_text_embedding(self, text: str) -> list[float]:
        return map_lists(self._aligner, [self._model.get_text_embedding(text)])[0]

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return map_lists(self._aligner, [await self._model.aget_text_embedding(text)])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return map_lists(self._aligner, self._model.get_text_embedding_batch(texts))

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return map_lists(self._aligner, await self._model.aget_text_embedding_batch(texts))
