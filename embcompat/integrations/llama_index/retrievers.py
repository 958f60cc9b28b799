"""Two LlamaIndex indexes behind one retriever: fused, mixed, lazy."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, final

from embcompat.errors import InputError, MissingExtraError
from embcompat.integrations.hits import LAZY_DEPTH, QUERY, Hits, Scores, as_search, check_depth, rank, read_hits
from embcompat.serving import DEFAULT_DEPTH, DEFAULT_WEIGHT, FusedSearch, MixedGallery, Search

try:
    from llama_index.core import QueryBundle, VectorStoreIndex
    from llama_index.core.base.base_retriever import BaseRetriever
    from llama_index.core.constants import DEFAULT_SIMILARITY_TOP_K
    from llama_index.core.schema import BaseNode, NodeWithScore
except ImportError as error:
    raise MissingExtraError(
        "llama-index-core", "embcompat[llama-index]", "embcompat.integrations.llama_index"
    ) from error


@final
@dataclass(frozen=True)
class Side:
    """One of the two indexes.

    Attributes:
        index: The index; its ``embed_model`` embeds queries.
        scores: What its store returns as scores: ``similarity`` (larger is closer: cosines, inner products),
            ``cosine_distance`` (1 − cosine), or ``squared_distance`` between unit vectors (2 − 2 cosine), as a
            ``FaissVectorStore`` over ``IndexFlatL2`` does.
    """

    index: VectorStoreIndex
    scores: Scores = "similarity"

    def search(self, query: QueryBundle, k: int) -> Hits[BaseNode]:
        """Return the k best nodes by id, with scores of which the larger is closer."""
        return self._read(self.index.as_retriever(similarity_top_k=k).retrieve(_text_of(query)))

    async def asearch(self, query: QueryBundle, k: int) -> Hits[BaseNode]:
        """Return the k best nodes by id, with scores of which the larger is closer."""
        return self._read(await self.index.as_retriever(similarity_top_k=k).aretrieve(_text_of(query)))

    def _read(self, nodes: Sequence[NodeWithScore]) -> Hits[BaseNode]:
        store = type(self.index.vector_store).__name__
        return read_hits(((each.node.node_id, each.node, each.get_score()) for each in nodes), self.scores, store)

    def missing(self, candidates: Hits[BaseNode], stored: Iterable[BaseNode] | None) -> list[BaseNode]:
        """Return those of another side's nodes that this one lacks, without their vectors.

        Args:
            candidates: Nodes of the other side.
            stored: Those of them that the store has, where it stores nodes; None where the index knows its own.
        """
        known = self.index.index_struct.nodes_dict.values() if stored is None else [node.node_id for node in stored]
        lacking = candidates.keys() - {name for name in known if name in candidates}
        nodes = [node for name, (node, _) in candidates.items() if name in lacking]
        return [node.model_copy(update={"embedding": None}) for node in nodes]  # or the old vector would be kept


class _TwoIndexes(BaseRetriever):
    """What the three have in common."""

    def __init__(self, first: Side, second: Side, similarity_top_k: int, depth: int) -> None:
        check_depth(depth)
        check_depth(similarity_top_k, name="similarity_top_k")
        self._sides, self._count, self._depth = (first, second), similarity_top_k, max(depth, similarity_top_k)
        super().__init__()


class _MergedIndexes(_TwoIndexes):
    """Both sides are searched with one query, and their hits merged by id."""

    @abstractmethod
    def _merge(self, searches: tuple[Search, Search], k: int) -> tuple[Any, Any]:
        """Return scores and ids (1, k) of one query."""

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._ranked([side.search(query_bundle, self._depth) for side in self._sides])

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._ranked(await asyncio.gather(*(side.asearch(query_bundle, self._depth) for side in self._sides)))

    def _ranked(self, hits: Sequence[Hits[BaseNode]]) -> list[NodeWithScore]:
        merged = self._merge((as_search(hits[0]), as_search(hits[1])), self._count)
        return [NodeWithScore(node=node, score=score) for node, score in rank(hits, merged)]


@final
class FusedRetriever(_MergedIndexes):
    """Adds the score of the new query among converted nodes and of the old query among old ones.

    See `embcompat.serving.FusedSearch`. Both models must be alive.

    Args:
        converted: The index of converted vectors; its ``embed_model`` is the new model.
        old: The index of old vectors; its ``embed_model`` is the old model.
        weight: w in w·new + (1 − w)·old.
        depth: Nodes that each side brings.
        similarity_top_k: Nodes to return.
    """

    def __init__(
        self,
        converted: Side,
        old: Side,
        *,
        weight: float = DEFAULT_WEIGHT,
        depth: int = DEFAULT_DEPTH,
        similarity_top_k: int = DEFAULT_SIMILARITY_TOP_K,
    ) -> None:
        super().__init__(converted, old, similarity_top_k, depth)
        self._weight = weight

    def _merge(self, searches: tuple[Search, Search], k: int) -> tuple[Any, Any]:
        return FusedSearch(*searches, weight=self._weight, depth=self._depth).search(QUERY, QUERY, k)


@final
class MixedRetriever(_MergedIndexes):
    """Merges nodes that the new model has embedded and converted ones, while a migration runs.

    See `embcompat.serving.MixedGallery`. Each node stands in one of the two indexes: once it is re-embedded, it is
    deleted from the converted one.

    Args:
        native: The index of vectors of the new model; its ``embed_model`` is the new model.
        converted: The index of converted vectors; its ``embed_model`` is the new model, too.
        scale: Factor for scores among converted nodes; `embcompat.serving.calibrate_scores` finds it.
        offset: What is added to them.
        similarity_top_k: Nodes to return.
    """

    def __init__(
        self,
        native: Side,
        converted: Side,
        *,
        scale: float = 1.0,
        offset: float = 0.0,
        similarity_top_k: int = DEFAULT_SIMILARITY_TOP_K,
    ) -> None:
        super().__init__(native, converted, similarity_top_k, 1)
        self._scale, self._offset = scale, offset

    def _merge(self, searches: tuple[Search, Search], k: int) -> tuple[Any, Any]:
        return MixedGallery(*searches, scale=self._scale, offset=self._offset).search(QUERY, k)


@final
class LazyRetriever(_TwoIndexes):
    """Embeds what queries bring up with the new model, keeps it, and ranks by it.

    The candidates are the best converted nodes. Those that are not native yet are inserted into the native index, which
    embeds them; then the native index alone is searched. Nodes are re-embedded where people look.

    Args:
        native: The index of vectors of the new model; a store that keeps nodes itself must know ``get_nodes``.
        converted: The index of converted vectors.
        depth: Candidates of a query.
        similarity_top_k: Nodes to return.
    """

    def __init__(
        self,
        native: Side,
        converted: Side,
        *,
        depth: int = LAZY_DEPTH,
        similarity_top_k: int = DEFAULT_SIMILARITY_TOP_K,
    ) -> None:
        super().__init__(native, converted, similarity_top_k, depth)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        native, converted = self._sides
        candidates, store = converted.search(query_bundle, self._depth), native.index.vector_store
        stored = store.get_nodes(list(candidates)) if store.stores_text else None
        if nodes := native.missing(candidates, stored):
            native.index.insert_nodes(nodes)
        return _scored(native.search(query_bundle, self._count))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        native, converted = self._sides
        candidates, store = await converted.asearch(query_bundle, self._depth), native.index.vector_store
        stored = await store.aget_nodes(list(candidates)) if store.stores_text else None
        if nodes := native.missing(candidates, stored):
            await native.index.ainsert_nodes(nodes)
        return _scored(await native.asearch(query_bundle, self._count))


def _scored(hits: Hits[BaseNode]) -> list[NodeWithScore]:
    return [NodeWithScore(node=node, score=score) for node, score in hits.values()]


def _text_of(query: QueryBundle) -> QueryBundle:
    """Return a query of its own for one side: an index keeps the vector that its model makes in what it is given.

    Raises:
        InputError: If it has a vector already, which is of one of the two models.
    """
    if query.embedding is not None:
        raise InputError("the query must be text, which each of the two models embeds. Got one with an embedding.")
    return QueryBundle(query.query_str, custom_embedding_strs=query.custom_embedding_strs)
