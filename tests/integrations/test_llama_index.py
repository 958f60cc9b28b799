"""Two real LlamaIndex indexes before, during and after a migration: in memory, and on FAISS."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import faiss
import numpy as np
import pytest
from llama_index.core import QueryBundle, StorageContext, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.response.schema import Response
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.vector_stores.faiss import FaissVectorStore

from embcompat.errors import InputError, MissingExtraError
from embcompat.extractors import Extractor
from embcompat.integrations.llama_index import FusedRetriever, LazyRetriever, MixedRetriever, Side
from embcompat.serving import FusedSearch, MixedGallery
from tests.integrations.two_stores import NAMES, QUERIES, TEXTS, search_in


class Model(BaseEmbedding):
    """An extractor as any LlamaIndex integration would be."""

    _extractor: Extractor = PrivateAttr()
    _texts: int = PrivateAttr(default=0)

    def __init__(self, extractor: Extractor) -> None:
        super().__init__(model_name=extractor.space.id)
        self._extractor = extractor

    @property
    def texts(self) -> int:
        """Texts that were embedded so far, without queries."""
        return self._texts

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._extractor.extract([query])[0].tolist()

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)

    def _get_text_embedding(self, text: str) -> list[float]:
        self._texts += 1
        return self._get_query_embedding(text)


def nodes_of(rows: np.ndarray, names: list[str]) -> list[TextNode]:
    return [TextNode(id_=name, text=TEXTS[name], embedding=row.tolist()) for name, row in zip(names, rows, strict=True)]


def memory_index(model: Model, rows: np.ndarray, names: list[str]) -> VectorStoreIndex:
    return VectorStoreIndex(nodes=nodes_of(rows, names), embed_model=model)


def faiss_index(model: Model, rows: np.ndarray, names: list[str]) -> VectorStoreIndex:
    store = FaissVectorStore(faiss_index=faiss.IndexFlatL2(rows.shape[1]))
    context = StorageContext.from_defaults(vector_store=store)
    return VectorStoreIndex(nodes=nodes_of(rows, names), embed_model=model, storage_context=context)


def names_of(nodes: list[NodeWithScore]) -> list[str]:
    return [node.node_id for node in nodes]


def test_fused_over_faiss_and_memory_is_fused_search(models: Any, vectors: Any) -> None:
    old, new = (Model(model) for model in models)
    sides = (
        Side(faiss_index(new, vectors["converted"], NAMES), "squared_distance"),
        Side(memory_index(old, vectors["old"], NAMES)),
    )
    fused = FusedRetriever(*sides, weight=0.7, similarity_top_k=5)
    oracle = FusedSearch(search_in(vectors["converted"], NAMES), search_in(vectors["old"], NAMES), weight=0.7)
    for query in QUERIES:
        scores, ids = oracle.search(models[1].extract([query]), models[0].extract([query]), 5)
        nodes = fused.retrieve(query)
        assert names_of(nodes) == ids[0].tolist()
        np.testing.assert_allclose([node.score for node in nodes], scores[0], atol=1e-4)
        again = asyncio.run(fused.aretrieve(query))
        assert [(node.node_id, node.score) for node in again] == [(node.node_id, node.score) for node in nodes]
        assert nodes[0].get_content() == TEXTS[nodes[0].node_id]
    assert (old.texts, new.texts) == (0, 0)  # the vectors that are there were used


def test_a_query_engine_goes_on_unchanged(models: Any, vectors: Any) -> None:
    side = Side(memory_index(Model(models[1]), vectors["converted"], NAMES))
    retriever = FusedRetriever(side, side, similarity_top_k=3)
    answer = RetrieverQueryEngine.from_args(retriever, llm=MockLLM()).query(QUERIES[0])
    assert isinstance(answer, Response)
    assert names_of(answer.source_nodes) == names_of(retriever.retrieve(QUERIES[0]))


@pytest.mark.parametrize("native_rows", [0, 20, 60])
def test_mixed_before_during_and_after_a_migration(models: Any, vectors: Any, native_rows: int) -> None:
    model = Model(models[1])
    native_names, names = NAMES[:native_rows], NAMES[native_rows:]
    native = faiss_index(model, vectors["new"][:native_rows].reshape(-1, 384), native_names)
    converted = memory_index(model, vectors["converted"], NAMES)
    if native_rows:
        converted.delete_nodes(native_names, delete_from_docstore=True)
    mixed = MixedRetriever(
        Side(native, "squared_distance"), Side(converted), scale=1.2, offset=-0.05, similarity_top_k=3
    )
    oracle = MixedGallery(
        search_in(vectors["new"][:native_rows], native_names),
        search_in(vectors["converted"][native_rows:], names),
        scale=1.2,
        offset=-0.05,
    )
    for query in QUERIES:
        _, ids = oracle.search(models[1].extract([query]), 3)
        assert names_of(mixed.retrieve(query)) == ids[0].tolist()
        assert names_of(asyncio.run(mixed.aretrieve(query))) == ids[0].tolist()


@pytest.mark.parametrize("build", [memory_index, faiss_index])
def test_lazy_embeds_what_queries_bring_up_once(models: Any, vectors: Any, build: Any) -> None:
    model = Model(models[1])
    scores = "similarity" if build is memory_index else "squared_distance"
    native = Side(build(model, np.empty((0, 384), dtype=np.float32), []), scores)
    converted = Side(faiss_index(model, vectors["converted"], NAMES), "squared_distance")
    lazy = LazyRetriever(native, converted, depth=10, similarity_top_k=3)
    first = lazy.retrieve(QUERIES[0])
    assert model.texts == 10
    assert names_of(lazy.retrieve(QUERIES[0])) == names_of(first)
    assert names_of(asyncio.run(lazy.aretrieve(QUERIES[0]))) == names_of(first)
    assert model.texts == 10
    query = models[1].extract([QUERIES[0]])[0]
    candidates = names_of(converted.index.as_retriever(similarity_top_k=10).retrieve(QUERIES[0]))
    rows = {name: vectors["new"][NAMES.index(name)] @ query for name in candidates}
    assert names_of(first) == sorted(rows, key=rows.__getitem__, reverse=True)[:3]
    asyncio.run(lazy.aretrieve(QUERIES[1]))
    assert 10 < model.texts <= 20
    best = names_of(LazyRetriever(native, converted, depth=60, similarity_top_k=3).retrieve(QUERIES[1]))
    assert best == search_in(vectors["new"], NAMES)(models[1].extract([QUERIES[1]]), 3)[1][0].tolist()
    assert model.texts == 60


def test_a_docstore_that_both_indexes_share_does_not_hide_what_is_missing(models: Any, vectors: Any) -> None:
    model = Model(models[1])
    converted = memory_index(model, vectors["converted"], NAMES)
    context = StorageContext.from_defaults(docstore=converted.docstore)
    native = VectorStoreIndex(nodes=[], embed_model=model, storage_context=context)
    lazy = LazyRetriever(Side(native), Side(converted), depth=5, similarity_top_k=3)
    assert len(lazy.retrieve(QUERIES[0])) == 3
    assert model.texts == 5


def test_scores_of_the_wrong_kind_and_queries_with_a_vector(models: Any, vectors: Any) -> None:
    side = Side(faiss_index(Model(models[1]), vectors["converted"], NAMES))
    with pytest.raises(InputError, match="scores of FaissVectorStore must fall from hit to hit as 'similarity'"):
        FusedRetriever(side, side).retrieve("an array")
    with pytest.raises(InputError, match="query must be text, which each of the two models embeds"):
        FusedRetriever(side, side).retrieve(QueryBundle("an array", embedding=[0.5] * 384))
    with pytest.raises(InputError, match="depth must be at least 1. Got 0"):
        LazyRetriever(side, side, depth=0)
    with pytest.raises(InputError, match="similarity_top_k must be at least 1. Got -1"):
        MixedRetriever(side, side, similarity_top_k=-1)


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("embcompat.integrations.llama_index", "embcompat.integrations.llama_index.retrievers"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "llama_index.core", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'embcompat\[llama-index\]'"):
        import embcompat.integrations.llama_index  # noqa: F401
