"""Vectors with ids and a space; pairs of them; reading and writing their files."""

from embcompat.embeddings.conversion import Transform, convert_embeddings, transform_embeddings
from embcompat.embeddings.pairs import PairedEmbeddings, PairSplit, pair_embeddings, split_pairs, stack_pairs
from embcompat.embeddings.pieces import PIECE_WORDS, CutTexts, cut_texts, piece_rows
from embcompat.embeddings.values import Embeddings, normalize_rows
from embcompat.files.validation import UNIT_NORM_TOLERANCE, validate_vectors

__all__ = [
    "PIECE_WORDS",
    "UNIT_NORM_TOLERANCE",
    "CutTexts",
    "Embeddings",
    "PairSplit",
    "PairedEmbeddings",
    "Transform",
    "convert_embeddings",
    "cut_texts",
    "normalize_rows",
    "pair_embeddings",
    "piece_rows",
    "split_pairs",
    "stack_pairs",
    "transform_embeddings",
    "validate_vectors",
]
