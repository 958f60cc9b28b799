"""Text-aware conversion: the old vector and the words of its item."""

from embcompat.aligners.text.aligner import TextAwareAligner, check_texts, combine, encoder_from_state
from embcompat.aligners.text.building import build_static_encoder
from embcompat.aligners.text.encoder import StaticEncoder
from embcompat.aligners.text.tokens import join_words, tokenize
from embcompat.aligners.text.vocabulary import Vocabulary, count_vocabulary

__all__ = [
    "StaticEncoder",
    "TextAwareAligner",
    "Vocabulary",
    "build_static_encoder",
    "check_texts",
    "combine",
    "count_vocabulary",
    "encoder_from_state",
    "join_words",
    "tokenize",
]
