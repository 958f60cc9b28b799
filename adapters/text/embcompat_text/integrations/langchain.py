"""LangChain embeddings that answer in another space."""

from __future__ import annotations

from pathlib import Path
from typing import final

from embcompat.artifact import Artifact
from embcompat.errors import MissingExtraError
from embcompat.runtime import OnnxAligner
from embcompat_text.integrations import map_lists

try:
    from langchain_core.embeddings import Embeddings
except ImportError as error:
    raise MissingExtraError("langchain-core", "embcompat-text[langchain]", "AlignedEmbeddings") from error


@final
class AlignedEmbeddings(Embeddings):
    """LangChain embeddings followed by an aligner: a new model for a vector store that an old one filled.

    Args:
        model: The new model, of any LangChain integration.
        artifact: An aligner from its space to the one of the stored vectors.
    """

    def __init__(self, model: Embeddings, artifact: str | Path | Artifact) -> None:
        self._model = model
        self._aligner = OnnxAligner(artifact)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed texts, in the target space."""
        return map_lists(self._aligner, self._model.embed_documents(texts))

    def embed_query(self, text: str) -> list[float]:
        """Embed a query, in the target space."""
        return map_lists(self._aligner, [self._model.embed_query(text)])[0]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed texts, in the target space."""
        return map_lists(self._aligner, await self._model.aembed_documents(texts))

    async def aembed_query(self, text: str) -> list[float]:
        """Embed a query, in the target space."""
        return map_lists(self._aligner, [await self._model.aembed_query(text)])[0]
