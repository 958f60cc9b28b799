from __future__ import annotations

import pytest
from embcompat_text import OnnxTextExtractor, SentenceTransformerExtractor, StaticTextExtractor

from embcompat.extractors import load_extractor


@pytest.fixture(scope="session")
def minilm() -> SentenceTransformerExtractor:
    import torch

    torch.set_num_threads(1)
    loaded = load_extractor("minilm", device="cpu")
    assert isinstance(loaded, SentenceTransformerExtractor)
    return loaded


@pytest.fixture(scope="session")
def paraphrase() -> OnnxTextExtractor:
    loaded = load_extractor("paraphrase-minilm-l3")
    assert isinstance(loaded, OnnxTextExtractor)
    return loaded


@pytest.fixture(scope="session")
def minilm_int8() -> OnnxTextExtractor:
    loaded = load_extractor("minilm-int8")
    assert isinstance(loaded, OnnxTextExtractor)
    return loaded


@pytest.fixture(scope="session")
def static64() -> StaticTextExtractor:
    loaded = load_extractor("static64")
    assert isinstance(loaded, StaticTextExtractor)
    return loaded
