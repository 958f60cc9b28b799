"""Two real LangChain stores before, during and after a migration."""

from __future__ import annotations

import asyncio
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore

from embcompat.errors import InputError
from embcompat.extractors import Extractor
from embcompat.integrations.langchain import FusedVectorStore, LazyVectorStore, MixedVectorStore, Side
from embcompat.serving import FusedSearch, MixedGallery
from tests.integrations.two_stores import NAMES, QUERIES, TEXTS, search_in

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it is no longer developed, and still what people have
    from langchain_community.vectorstores import FAISS, LanceDB


class Model(Embeddings):
    """An extractor as any LangChain integration would be."""

    def __init__(self, extractor: Extractor) -> None:
        self.extractor = extractor
        self.texts = 0

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.texts += len(texts)
        return self.extractor.extract(texts).tolist()

    def embed_query(self, text: str) -> list[float]:
        return self.extractor.extract([text])[0].tolist()


def faiss_store(model: Embeddings, rows: np.ndarray, names: list[str]) -> FAISS:
    pairs = zip([TEXTS[name] for name in names], rows.tolist(), strict=True)
    return FAISS.from_embeddings(list(pairs), model, ids=names)


def names_of(documents: list[Document]) -> list[str | None]:
    return [document.id for document in documents]


def test_fused_over_faiss_and_memory_is_fused_search(models: Any, vectors: Any) -> None:
    old = InMemoryVectorStore(Model(models[0]))
    old.add_texts(list(TEXTS.values()), ids=NAMES)
    converted = faiss_store(Model(models[1]), vectors["converted"], NAMES)
    fused = FusedVectorStore(Side(converted, "squared_distance"), Side(old), weight=0.7)
    oracle = FusedSearch(search_in(vectors["converted"], NAMES), search_in(vectors["old"], NAMES), weight=0.7)
    for query in QUERIES:
        queries = [model.extract([query]) for model in (models[1], models[0])]
        scores, ids = oracle.search(*queries, 5)
        hits = fused.similarity_search_with_score(query, k=5)
        assert names_of([document for document, _ in hits]) == ids[0].tolist()
        np.testing.assert_allclose([score for _, score in hits], scores[0], atol=1e-4)
        again = asyncio.run(fused.asimilarity_search_with_score(query, k=5))
        assert [(document.id, score) for document, score in again] == [(each.id, score) for each, score in hits]
    retriever = fused.as_retriever(search_kwargs={"k": 3})
    assert names_of(retriever.invoke(QUERIES[0])) == names_of(fused.similarity_search(QUERIES[0], k=3))
    assert names_of(asyncio.run(retriever.ainvoke(QUERIES[0]))) == names_of(retriever.invoke(QUERIES[0]))


@pytest.mark.parametrize("native_rows", [0, 20, 60])
def test_mixed_before_during_and_after_a_migration(models: Any, vectors: Any, native_rows: int) -> None:
    model = Model(models[1])
    native = InMemoryVectorStore(model)
    native.add_texts([TEXTS[name] for name in NAMES[:native_rows]], ids=NAMES[:native_rows])
    converted = faiss_store(model, vectors["converted"], NAMES)
    if native_rows:
        converted.delete(NAMES[:native_rows])
    mixed = MixedVectorStore(Side(native), Side(converted, "squared_distance"), scale=1.2, offset=-0.05)
    oracle = MixedGallery(
        search_in(vectors["new"][:native_rows], NAMES[:native_rows]),
        search_in(vectors["converted"][native_rows:], NAMES[native_rows:]),
        scale=1.2,
        offset=-0.05,
    )
    for query in QUERIES:
        _, ids = oracle.search(models[1].extract([query]), 3)
        assert names_of(mixed.similarity_search(query, k=3)) == ids[0].tolist()
        assert names_of(asyncio.run(mixed.asimilarity_search(query, k=3))) == ids[0].tolist()


def test_lazy_embeds_what_queries_bring_up_once(models: Any, vectors: Any) -> None:
    model = Model(models[1])
    native, converted = InMemoryVectorStore(model), faiss_store(model, vectors["converted"], NAMES)
    lazy = LazyVectorStore(Side(native), Side(converted, "squared_distance"), depth=10)
    first = lazy.similarity_search(QUERIES[0], k=3)
    assert model.texts == 10
    assert names_of(lazy.similarity_search(QUERIES[0], k=3)) == names_of(first)
    assert names_of(asyncio.run(lazy.asimilarity_search(QUERIES[0], k=3))) == names_of(first)
    assert model.texts == 10
    candidates = converted.similarity_search(QUERIES[0], k=10)
    query = models[1].extract([QUERIES[0]])[0]
    rows = {name: vectors["new"][NAMES.index(name)] @ query for name in names_of(candidates)}
    assert names_of(first) == sorted(rows, key=rows.__getitem__, reverse=True)[:3]
    for query in QUERIES:
        lazy.similarity_search(query, k=3)
    assert 10 < model.texts <= 30
    complete = LazyVectorStore(Side(native), Side(converted, "squared_distance"), depth=60)
    best = names_of(complete.similarity_search(QUERIES[1], k=3))
    oracle = search_in(vectors["new"], NAMES)(models[1].extract([QUERIES[1]]), 3)[1][0].tolist()
    assert best == oracle


def test_ids_in_the_metadata_and_scores_of_the_wrong_kind(models: Any, vectors: Any) -> None:
    model = Model(models[0])
    store = FAISS.from_embeddings(
        [(TEXTS[name], row) for name, row in zip(NAMES, vectors["old"].tolist(), strict=True)],
        model,
        metadatas=[{"doc": name} for name in NAMES],
    )
    fused = FusedVectorStore(Side(store, "squared_distance", key="doc"), Side(store, "squared_distance", key="doc"))
    assert fused.similarity_search(TEXTS[NAMES[3]], k=1)[0].metadata["doc"] == NAMES[3]
    with pytest.raises(InputError, match="scores of FAISS must fall from hit to hit as 'similarity'. They rise"):
        FusedVectorStore(Side(store), Side(store)).similarity_search("an array")
    with pytest.raises(InputError, match="every document of FAISS must have an id under 'number' in its metadata"):
        Side(store, "squared_distance", key="number").search("an array", 3)
    with pytest.raises(InputError, match="stands over two stores that exist"):
        FusedVectorStore.from_texts(["a"], model)
    with pytest.raises(InputError, match="depth must be at least 1. Got 0"):
        LazyVectorStore(Side(store), Side(store), depth=0)


def test_lancedb_tables_are_joined_by_the_id_in_the_metadata(models: Any, vectors: Any, tmp_path: Path) -> None:
    sides = []
    for name, model in (("converted", models[1]), ("old", models[0])):
        store = LanceDB(uri=str(tmp_path), table_name=name, embedding=Model(model))
        rows = zip(NAMES, vectors[name], strict=True)
        store._connection.create_table(
            name,
            [{"id": each, "text": TEXTS[each], "vector": row, "metadata": {"doc": each}} for each, row in rows],
        )
        sides.append(Side(store, "squared_distance", key="doc"))
    fused = FusedVectorStore(*sides, weight=0.7)
    oracle = FusedSearch(search_in(vectors["converted"], NAMES), search_in(vectors["old"], NAMES), weight=0.7)
    for query in QUERIES:
        _, ids = oracle.search(models[1].extract([query]), models[0].extract([query]), 5)
        hits = fused.similarity_search(query, k=5)
        assert [document.metadata["doc"] for document in hits] == ids[0].tolist()
        again = asyncio.run(fused.asimilarity_search(query, k=5))
        assert [document.metadata["doc"] for document in again] == ids[0].tolist()
