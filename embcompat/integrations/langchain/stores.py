"""Two LangChain vector stores behind one: fused, mixed, lazy."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, final

from embcompat.errors import InputError, MissingExtraError
from embcompat.integrations.hits import LAZY_DEPTH, QUERY, Hits, Scores, as_search, check_depth, rank, read_hits
from embcompat.serving import DEFAULT_DEPTH, DEFAULT_WEIGHT, FusedSearch, MixedGallery, Search

try:
    from langchain_core.documents import Document
    from langchain_core.vectorstores import VectorStore
except ImportError as error:
    raise MissingExtraError("langchain-core", "embcompat[langchain]", "embcompat.integrations.langchain") from error


@final
@dataclass(frozen=True)
class Side:
    """One of the two stores.

    Attributes:
        store: The store; it embeds queries with its own model.
        scores: What its scores are: ``similarity`` (larger is closer: cosines, inner products), ``cosine_distance``
            (1 − cosine), or ``squared_distance`` between unit vectors (2 − 2 cosine), as FAISS and LanceDB return.
        key: The name in a document's metadata under which its id stands, for stores that return documents without
            their ids, such as LanceDB; the document's own id when None.
    """

    store: VectorStore
    scores: Scores = "similarity"
    key: str | None = None

    def search(self, query: str, k: int) -> Hits[Document]:
        """Return the k best documents by id, with scores of which the larger is closer."""
        return self._read(self.store.similarity_search_with_score(query, k=k))

    async def asearch(self, query: str, k: int) -> Hits[Document]:
        """Return the k best documents by id, with scores of which the larger is closer."""
        return self._read(await self.store.asimilarity_search_with_score(query, k=k))

    def id_of(self, document: Document) -> str:
        """Return the id of a document.

        Raises:
            InputError: If it has none.
        """
        identifier = document.id if self.key is None else document.metadata.get(self.key)
        if identifier is None:
            where = "an id" if self.key is None else f"an id under {self.key!r} in its metadata"
            raise InputError(
                f"every document of {type(self.store).__name__} must have {where}, by which the two stores are joined. "
                f"Got one without: {document.page_content!r:.60}. Pass key=…, the name of an id in the metadata."
            )
        return str(identifier)

    def _read(self, results: Sequence[tuple[Document, Any]]) -> Hits[Document]:
        store = type(self.store).__name__
        return read_hits(((self.id_of(each), each, float(score)) for each, score in results), self.scores, store)


class _TwoStores(VectorStore):
    """What the three have in common."""

    def __init__(self, first: Side, second: Side, depth: int) -> None:
        check_depth(depth)
        self._sides, self._depth = (first, second), depth

    def similarity_search(self, query: str, k: int = 4, **options: Any) -> list[Document]:
        """Return the k best documents, the best first."""
        return [document for document, _ in self.similarity_search_with_score(query, k, **options)]

    async def asimilarity_search(self, query: str, k: int = 4, **options: Any) -> list[Document]:
        """Return the k best documents, the best first."""
        return [document for document, _ in await self.asimilarity_search_with_score(query, k, **options)]

    @classmethod
    def from_texts(cls, *_arguments: Any, **_options: Any) -> NoReturn:
        """Refuse: this stands over two stores that exist.

        Raises:
            InputError: Always.
        """
        raise InputError(f"{cls.__name__} stands over two stores that exist. Make it from them.")


class _MergedStores(_TwoStores):
    """Both sides are searched with one query, and their hits merged by id."""

    @abstractmethod
    def _merge(self, searches: tuple[Search, Search], k: int) -> tuple[Any, Any]:
        """Return scores and ids (1, k) of one query."""

    def similarity_search_with_score(self, query: str, k: int = 4, **_options: Any) -> list[tuple[Document, float]]:
        """Return the k best documents, the best first; the larger the score the closer."""
        depth = max(k, self._depth)
        return self._ranked([side.search(query, depth) for side in self._sides], k)

    async def asimilarity_search_with_score(
        self, query: str, k: int = 4, **_options: Any
    ) -> list[tuple[Document, float]]:
        """Return the k best documents, both stores asked at once."""
        depth = max(k, self._depth)
        return self._ranked(await asyncio.gather(*(side.asearch(query, depth) for side in self._sides)), k)

    def _ranked(self, hits: Sequence[Hits[Document]], k: int) -> list[tuple[Document, float]]:
        return rank(hits, self._merge((as_search(hits[0]), as_search(hits[1])), k))


@final
class FusedVectorStore(_MergedStores):
    """Adds the score of the new query among converted documents and of the old query among old ones.

    See `embcompat.serving.FusedSearch`. Both models must be alive.

    Args:
        converted: The store of converted vectors; its embeddings are the new model.
        old: The store of old vectors; its embeddings are the old model.
        weight: w in w·new + (1 − w)·old.
        depth: Documents that each side brings.
    """

    def __init__(
        self, converted: Side, old: Side, *, weight: float = DEFAULT_WEIGHT, depth: int = DEFAULT_DEPTH
    ) -> None:
        super().__init__(converted, old, depth)
        self._weight = weight

    def _merge(self, searches: tuple[Search, Search], k: int) -> tuple[Any, Any]:
        return FusedSearch(*searches, weight=self._weight, depth=self._depth).search(QUERY, QUERY, k)


@final
class MixedVectorStore(_MergedStores):
    """Merges documents that the new model has embedded and converted ones, while a migration runs.

    See `embcompat.serving.MixedGallery`. Each document stands in one of the two stores: once it is re-embedded, it is
    deleted from the converted one.

    Args:
        native: The store of vectors of the new model; its embeddings are the new model.
        converted: The store of converted vectors; its embeddings are the new model, too.
        scale: Factor for scores among converted documents; `embcompat.serving.calibrate_scores` finds it.
        offset: What is added to them.
    """

    def __init__(self, native: Side, converted: Side, *, scale: float = 1.0, offset: float = 0.0) -> None:
        super().__init__(native, converted, 1)
        self._scale, self._offset = scale, offset

    def _merge(self, searches: tuple[Search, Search], k: int) -> tuple[Any, Any]:
        return MixedGallery(*searches, scale=self._scale, offset=self._offset).search(QUERY, k)


@final
class LazyVectorStore(_TwoStores):
    """Embeds what queries bring up with the new model, keeps it, and ranks by it.

    The candidates are the best converted documents. Those that are not native yet are added to the native store, which
    embeds them; then the native store alone is searched. Documents are re-embedded where people look.

    Args:
        native: The store of vectors of the new model; it must know ``get_by_ids``.
        converted: The store of converted vectors.
        depth: Candidates of a query.
    """

    def __init__(self, native: Side, converted: Side, *, depth: int = LAZY_DEPTH) -> None:
        super().__init__(native, converted, depth)

    def similarity_search_with_score(self, query: str, k: int = 4, **_options: Any) -> list[tuple[Document, float]]:
        """Return the k best documents by native scores, after the candidates are embedded."""
        native, converted = self._sides
        candidates = converted.search(query, max(k, self._depth))
        missing = self._missing(candidates, native.store.get_by_ids(list(candidates)))
        if missing:
            native.store.add_documents(list(missing.values()), ids=list(missing))
        return list(native.search(query, k).values())

    async def asimilarity_search_with_score(
        self, query: str, k: int = 4, **_options: Any
    ) -> list[tuple[Document, float]]:
        """Return the k best documents by native scores, after the candidates are embedded."""
        native, converted = self._sides
        candidates = await converted.asearch(query, max(k, self._depth))
        missing = self._missing(candidates, await native.store.aget_by_ids(list(candidates)))
        if missing:
            await native.store.aadd_documents(list(missing.values()), ids=list(missing))
        return list((await native.asearch(query, k)).values())

    def _missing(self, candidates: Hits[Document], stored: list[Document]) -> dict[str, Document]:
        known = {self._sides[0].id_of(document) for document in stored}
        return {
            name: document.model_copy(update={"id": name})
            for name, (document, _) in candidates.items()
            if name not in known
        }
