"""The static extractor computes what model2vec computes, on scripts that its vocabulary lacks too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from embcompat_text.static import StaticTextExtractor
from model2vec import StaticModel
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace

from embcompat.errors import ExtractionError

WORDS = ["[UNK]", "the", "of", "law", "court", "##s", "ing", "##ing", "море"]
TEXTS = ["The law of the courts", "the law 法律 of море", "law " * 700, "ཁྲིམས law", "unheard-of law"]


def test_it_equals_model2vec(tmp_path: Path) -> None:
    tokenizer = Tokenizer(WordPiece({word: row for row, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = Lowercase(), Whitespace()
    vectors = np.random.default_rng(0).standard_normal((len(WORDS), 8)).astype(np.float32)
    model = StaticModel(vectors, tokenizer, normalize=True)
    model.save_pretrained(str(tmp_path))
    extractor = StaticTextExtractor(tmp_path / "model.safetensors", tmp_path / "tokenizer.json")
    np.testing.assert_allclose(extractor.extract(TEXTS), model.encode(TEXTS), atol=1e-5)
    with pytest.raises(ExtractionError, match="at least one token that is known. Got '法律'"):
        extractor.extract(["法律"])
    with pytest.raises(ExtractionError, match="must not be empty or blank"):
        extractor.extract([" \n"])
    assert extractor.space.fingerprint["pooling"] == "mean of known tokens"
