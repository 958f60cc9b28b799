"""Vectors that know their ids and their space; pairs of them; the files they live in."""

from embcompat.embeddings.conversion import Transform, convert_embeddings
from embcompat.embeddings.pairs import PairedEmbeddings, PairSplit, pair_embeddings, split_pairs, stack_pairs
from embcompat.embeddings.values import Embeddings, normalize_rows
from embcompat.files.validation import UNIT_NORM_TOLERANCE, validate_vectors

__all__ = [
    "UNIT_NORM_TOLERANCE",
    "Embeddings",
    "PairSplit",
    "PairedEmbeddings",
    "Transform",
    "convert_embeddings",
    "normalize_rows",
    "pair_embeddings",
    "split_pairs",
    "stack_pairs",
    "validate_vectors",
]
