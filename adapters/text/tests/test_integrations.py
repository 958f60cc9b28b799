"""Models of other libraries that answer in an old space, with the real libraries."""

from __future__ import annotations

import asyncio
import copy
import inspect
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from embcompat_text import OnnxTextExtractor, StaticTextExtractor
from embcompat_text.packaged import MINILM_WEIGHTS
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore
from llama_index.core import VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.schema import TextNode
from sentence_transformers import SentenceTransformer

from embcompat import Artifact, OnnxAligner, fit_aligner, pair_embeddings, save_artifact, split_pairs
from embcompat.errors import ExtractionError, InputError
from embcompat.extractors import Extractor, extract_embeddings
from embcompat.spaces import SpaceVersion
from embcompat.testing import make_pairs

FolderOf = Callable[[str], Path]

SUMMARIES = {
    (inspect.getdoc(member) or "").partition("\n\n")[0]: name for name, member in vars(np).items() if callable(member)
}
DOCS = {name: text for text, name in sorted(SUMMARIES.items())[:240] if 20 < len(text) < 120}
GALLERY = dict(list(DOCS.items())[::2])
QUERIES = dict(list(GALLERY.items())[::10])


class LangChainModel(Embeddings):
    """An extractor as any LangChain integration would be."""

    def __init__(self, extractor: Extractor) -> None:
        self.extractor = extractor

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self.extractor.extract(texts).tolist()

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


class LlamaIndexModel(BaseEmbedding):
    """The same for LlamaIndex."""

    extractor: object

    def _get_text_embedding(self, text: str) -> list[float]:
        assert isinstance(self.extractor, Extractor)
        return self.extractor.extract([text])[0].tolist()

    _get_query_embedding = _get_text_embedding

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


@pytest.fixture(scope="module")
def bridge(paraphrase: OnnxTextExtractor, static64: StaticTextExtractor, tmp_path_factory: pytest.TempPathFactory):
    """New model → old space, fitted on the second half of the texts; the first half is the gallery."""
    texts = dict(list(DOCS.items())[1::2])
    new, old = (
        extract_embeddings(model, list(texts.values()), ids=list(texts), on_skip=lambda _: None)
        for model in (paraphrase, static64)
    )
    split = split_pairs(pair_embeddings(new, old))
    aligner = fit_aligner("ridge", split.train, split.validation)
    path = tmp_path_factory.mktemp("bridge") / "new-to-old"
    return save_artifact(aligner, path, source=paraphrase.space, target=static64.space, split=split)


@pytest.fixture(scope="module")
def nearest(bridge: Artifact, paraphrase: OnnxTextExtractor, static64: StaticTextExtractor) -> dict[str, set[str]]:
    """Names of the three texts of the gallery that exact search finds for every tenth."""
    queries = OnnxAligner(bridge).transform(paraphrase.extract(list(QUERIES.values())))
    scores = queries @ static64.extract(list(GALLERY.values())).T
    best = np.array(list(GALLERY))[np.argsort(-scores, axis=1)[:, :3]]
    neighbours = {name: set(row.tolist()) for name, row in zip(QUERIES, best, strict=True)}
    assert np.mean([name in row for name, row in neighbours.items()]) > 5 * 3 / len(GALLERY)  # five times chance
    return neighbours


def test_a_langchain_store_that_the_old_model_filled_answers_the_new_one(
    bridge: Artifact, paraphrase: OnnxTextExtractor, static64: StaticTextExtractor, nearest: dict[str, set[str]]
) -> None:
    from embcompat_text.integrations.langchain import AlignedEmbeddings

    store = InMemoryVectorStore(LangChainModel(static64))
    store.add_texts(list(GALLERY.values()), ids=list(GALLERY))
    aligned = AlignedEmbeddings(LangChainModel(paraphrase), bridge)
    store.embedding = aligned  # the swap that a model change is
    for name, text in QUERIES.items():
        assert {document.id for document in store.similarity_search(text, k=3)} == nearest[name]
    first = next(iter(GALLERY.values()))
    expected = OnnxAligner(bridge).transform(paraphrase.extract([first]))[0]
    for document in (
        aligned.embed_query(first),
        aligned.embed_documents([first])[0],
        asyncio.run(aligned.aembed_query(first)),
        asyncio.run(aligned.aembed_documents([first]))[0],
    ):
        np.testing.assert_allclose(document, expected, atol=1e-6)
    assert aligned.embed_documents([]) == []


def test_a_llama_index_that_the_old_model_filled_answers_the_new_one(
    bridge: Artifact, paraphrase: OnnxTextExtractor, static64: StaticTextExtractor, nearest: dict[str, set[str]]
) -> None:
    from embcompat_text.integrations.llama_index import AlignedEmbedding

    nodes = [TextNode(id_=name, text=text) for name, text in GALLERY.items()]
    index = VectorStoreIndex(nodes, embed_model=LlamaIndexModel(extractor=static64))
    aligned = AlignedEmbedding(LlamaIndexModel(extractor=paraphrase, model_name="new"), bridge)
    retriever = index.as_retriever(similarity_top_k=3, embed_model=aligned)
    for name, text in QUERIES.items():
        assert {node.node_id for node in retriever.retrieve(text)} == nearest[name]
    first = next(iter(GALLERY.values()))
    expected = OnnxAligner(bridge).transform(paraphrase.extract([first]))[0]
    for node in (
        aligned.get_query_embedding(first),
        aligned.get_text_embedding(first),
        aligned.get_text_embedding_batch([first])[0],
        asyncio.run(aligned.aget_query_embedding(first)),
        asyncio.run(aligned.aget_text_embedding(first)),
        asyncio.run(aligned.aget_text_embedding_batch([first]))[0],
    ):
        np.testing.assert_allclose(node, expected, atol=1e-6)
    assert aligned.model_name == "new"
    assert aligned.to_dict()["class_name"] == "AlignedEmbedding"


@pytest.fixture
def model() -> SentenceTransformer:
    folder = MINILM_WEIGHTS.locate(purpose="A test").parent
    return SentenceTransformer(str(folder), device="cpu", local_files_only=True)


@pytest.fixture(scope="module")
def artifact_of(tmp_path_factory: pytest.TempPathFactory) -> FolderOf:
    """Artifacts of any kind from MiniLM's dimensions to 16."""
    pairs = make_pairs(600, source_dim=384, target_dim=16, how="affine", normalized=True).pairs
    split = split_pairs(pairs)

    def make(kind: str) -> Path:
        path = tmp_path_factory.mktemp(kind) / "artifact"
        aligner = fit_aligner(kind, split.train, split.validation)
        save_artifact(aligner, path, source=pairs.source.space, target=pairs.target.space, split=split)
        return path

    return make


TEXTS = list(GALLERY.values())[:4]


@pytest.mark.parametrize("kind", ["ridge", "kernel"])
def test_an_aligned_model_is_one_model_on_disk_too(
    kind: str, artifact_of: FolderOf, model: SentenceTransformer, tmp_path: Path
) -> None:
    from embcompat_text.integrations.sentence_transformers import align_model

    path = artifact_of(kind)
    expected = OnnxAligner(path).transform(model.encode(TEXTS))
    aligned = align_model(model, path)
    assert aligned is model
    assert aligned.get_embedding_dimension() == 16
    sent = pickle.loads(pickle.dumps(aligned))  # as sentence-transformers sends a model to its worker processes
    for each in (aligned, copy.deepcopy(aligned), sent):
        np.testing.assert_allclose(each.encode(TEXTS), expected, atol=1e-5)
        np.testing.assert_allclose(each.encode_query(TEXTS[0]), expected[0], atol=1e-5)
    np.testing.assert_allclose(aligned.similarity(expected, expected), expected @ expected.T, atol=1e-5)
    aligned.save(str(tmp_path / "saved"))
    trust = {} if kind == "ridge" else {"trust_remote_code": True}
    again = SentenceTransformer(str(tmp_path / "saved"), device="cpu", local_files_only=True, **trust)
    np.testing.assert_allclose(again.encode(TEXTS), expected, atol=1e-5)
    assert not list((tmp_path / "saved").rglob("*.bin"))


@pytest.mark.parametrize("kind", ["ridge", "kernel"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_in_half_precision_is_aligned_too(
    kind: str, dtype: torch.dtype, artifact_of: FolderOf, model: SentenceTransformer
) -> None:
    from embcompat_text.integrations.sentence_transformers import align_model

    path = artifact_of(kind)
    expected = OnnxAligner(path).transform(model.encode(TEXTS))
    aligned = align_model(model.to(dtype), path).encode(TEXTS)
    assert (aligned * expected).sum(axis=1).min() > 0.99


@pytest.mark.parametrize(("value", "message"), [(float("nan"), "Got NaN or infinity"), (0.0, "Got all zeros")])
def test_what_a_failed_model_returns_is_refused(artifact_of: FolderOf, value: float, message: str) -> None:
    from embcompat_text.integrations.langchain import AlignedEmbeddings
    from embcompat_text.integrations.sentence_transformers import AlignedOutput

    class Failed(Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [[1.0] * 384, *([value] * 384 for _ in texts[1:])]

        def embed_query(self, text: str) -> list[float]:
            return [value] * 384 if text else []

    aligned = AlignedEmbeddings(Failed(), artifact_of("ridge"))
    with pytest.raises(ExtractionError, match=f"{message} for text 1 of 3"):
        aligned.embed_documents(["a", "b", "c"])
    with pytest.raises(ExtractionError, match=f"{message} for text 0 of 1"):
        aligned.embed_query("a")
    with pytest.raises(ExtractionError, match=message):
        AlignedOutput(artifact_of("kernel"))({"sentence_embedding": torch.full((1, 384), value)})


def test_aligned_models_go_to_a_pool_of_workers(artifact_of: FolderOf, static64: StaticTextExtractor) -> None:
    from embcompat_text.integrations.langchain import AlignedEmbeddings
    from embcompat_text.integrations.llama_index import AlignedEmbedding

    space = static64.space
    pairs = make_pairs(600, source_dim=space.dim, target_dim=8, normalized=True).pairs
    split = split_pairs(pairs)
    path = artifact_of("ridge").parent / "small"
    save_artifact(fit_aligner("ridge", split.train, split.validation), path, source=space, target=pairs.target.space)
    langchain = AlignedEmbeddings(LangChainModel(static64), path)
    assert pickle.loads(pickle.dumps(langchain)).embed_query(TEXTS[0]) == langchain.embed_query(TEXTS[0])
    llama = AlignedEmbedding(LlamaIndexModel(extractor=static64), path)
    assert pickle.loads(pickle.dumps(llama)).get_query_embedding(TEXTS[0]) == llama.get_query_embedding(TEXTS[0])


def test_a_dot_product_space_is_compared_by_dot_product(model: SentenceTransformer, tmp_path: Path) -> None:
    from embcompat_text.integrations.sentence_transformers import align_model

    pairs = make_pairs(600, source_dim=384, target_dim=8, normalized=True).pairs
    raw = SpaceVersion(name="raw", version="1", dim=8, similarity="dot")
    split = split_pairs(pairs)
    aligner = fit_aligner("ridge", split.train, split.validation)
    save_artifact(aligner, tmp_path / "artifact", source=pairs.source.space, target=raw)
    assert align_model(model, tmp_path / "artifact").similarity_fn_name == "dot"


def test_a_model_of_another_space_is_refused(artifact_of: FolderOf, model: SentenceTransformer) -> None:
    from embcompat_text.integrations.sentence_transformers import align_model

    path = artifact_of("ridge")
    model.truncate_dim = 128
    with pytest.raises(InputError, match="384 dimensions, not truncated, normalized True. Got 128 dimensions"):
        align_model(model, path)
    model.truncate_dim = None
    del model[-1]
    with pytest.raises(InputError, match="normalized False. Load the model that the pairs were made with"):
        align_model(model, path)


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [("langchain", "langchain_core", "langchain"), ("llama_index", "llama_index.core", "llama-index")],
)
def test_a_missing_library_is_named_with_its_pip_line(module: str, package: str, extra: str) -> None:
    program = f"import sys; sys.modules[{package!r}] = None; import embcompat_text.integrations.{module}"
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "MissingExtraError" in process.stderr
    assert f"pip install 'embcompat-text[{extra}]'" in process.stderr
