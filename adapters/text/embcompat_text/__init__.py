"""Text models for embcompat. torch and sentence-transformers are imported when an extractor is made."""

from embcompat_text.onnx_text import OnnxTextExtractor
from embcompat_text.packaged import minilm, minilm_int8, paraphrase_minilm_l3, static64
from embcompat_text.sentence import SentenceTransformerExtractor
from embcompat_text.static import StaticTextExtractor

__all__ = [
    "OnnxTextExtractor",
    "SentenceTransformerExtractor",
    "StaticTextExtractor",
    "minilm",
    "minilm_int8",
    "paraphrase_minilm_l3",
    "static64",
]
