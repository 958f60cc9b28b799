"""Replace an embedding model without throwing away the vectors you have stored.

Names are loaded when they are first used, so that importing embcompat costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embcompat.aligners import AffineAligner, Aligner, AlignerPair, fit_affine, load_aligner
    from embcompat.artifact import Artifact, read_artifact
    from embcompat.embeddings import Embeddings, PairedEmbeddings, PairSplit, pair_embeddings, split_pairs
    from embcompat.export import save_aligner_pair, save_artifact
    from embcompat.runtime import OnnxAligner
    from embcompat.spaces import SpaceVersion

_HOMES = {
    "embcompat.aligners": ("AffineAligner", "Aligner", "AlignerPair", "fit_affine", "load_aligner"),
    "embcompat.artifact": ("Artifact", "read_artifact"),
    "embcompat.embeddings": ("Embeddings", "PairSplit", "PairedEmbeddings", "pair_embeddings", "split_pairs"),
    "embcompat.export": ("save_aligner_pair", "save_artifact"),
    "embcompat.runtime": ("OnnxAligner",),
    "embcompat.spaces": ("SpaceVersion",),
}

__all__ = [
    "AffineAligner",
    "Aligner",
    "AlignerPair",
    "Artifact",
    "Embeddings",
    "OnnxAligner",
    "PairSplit",
    "PairedEmbeddings",
    "SpaceVersion",
    "fit_affine",
    "load_aligner",
    "pair_embeddings",
    "read_artifact",
    "save_aligner_pair",
    "save_artifact",
    "split_pairs",
]


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
