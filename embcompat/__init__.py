"""Replace an embedding model without throwing away the vectors you have stored.

The names of the straight line from old vectors to new ones; everything else is in the packages. Names are loaded when
they are first used, so that importing embcompat costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embcompat.aligners import AffineAligner, Aligner, AlignerPair, fit_affine, load_aligner
    from embcompat.artifact import Artifact, read_artifact
    from embcompat.backfill import Budget, LazyBackfill, plan_backfill
    from embcompat.embeddings import (
        Embeddings,
        PairedEmbeddings,
        PairSplit,
        convert_embeddings,
        cut_texts,
        pair_embeddings,
        split_pairs,
    )
    from embcompat.evaluation import Qrels, RetrievalReport, evaluate_retrieval, read_qrels
    from embcompat.evaluation.verification import VerificationReport, evaluate_verification
    from embcompat.export import save_aligner_pair, save_artifact
    from embcompat.extractors import Extractor, extract_embeddings, list_extractors, load_extractor
    from embcompat.hub import push_to_hub
    from embcompat.migration import convert_file
    from embcompat.registry import Registry
    from embcompat.report import write_report
    from embcompat.runtime import OnnxAligner
    from embcompat.selection import fit_aligner, fit_artifact, learning_curve, select_aligner
    from embcompat.spaces import SpaceVersion
    from embcompat.stores import sample_gallery
    from embcompat.training import fit_bidirectional, fit_neural
    from embcompat.upgrade import Decision, Evaluation, decide, evaluate_upgrade

_HOMES = {
    "embcompat.aligners": (
        "AffineAligner",
        "Aligner",
        "AlignerPair",
        "fit_affine",
        "load_aligner",
    ),
    "embcompat.artifact": (
        "Artifact",
        "read_artifact",
    ),
    "embcompat.backfill": (
        "Budget",
        "LazyBackfill",
        "plan_backfill",
    ),
    "embcompat.embeddings": (
        "Embeddings",
        "PairSplit",
        "PairedEmbeddings",
        "convert_embeddings",
        "cut_texts",
        "pair_embeddings",
        "split_pairs",
    ),
    "embcompat.evaluation": (
        "Qrels",
        "RetrievalReport",
        "evaluate_retrieval",
        "read_qrels",
    ),
    "embcompat.evaluation.verification": (
        "VerificationReport",
        "evaluate_verification",
    ),
    "embcompat.export": (
        "save_aligner_pair",
        "save_artifact",
    ),
    "embcompat.extractors": (
        "Extractor",
        "extract_embeddings",
        "list_extractors",
        "load_extractor",
    ),
    "embcompat.hub": ("push_to_hub",),
    "embcompat.migration": ("convert_file",),
    "embcompat.registry": ("Registry",),
    "embcompat.report": ("write_report",),
    "embcompat.runtime": ("OnnxAligner",),
    "embcompat.selection": (
        "fit_aligner",
        "fit_artifact",
        "learning_curve",
        "select_aligner",
    ),
    "embcompat.spaces": ("SpaceVersion",),
    "embcompat.stores": ("sample_gallery",),
    "embcompat.training": (
        "fit_bidirectional",
        "fit_neural",
    ),
    "embcompat.upgrade": (
        "Decision",
        "Evaluation",
        "decide",
        "evaluate_upgrade",
    ),
}

__all__ = [
    "AffineAligner",
    "Aligner",
    "AlignerPair",
    "Artifact",
    "Budget",
    "Decision",
    "Embeddings",
    "Evaluation",
    "Extractor",
    "LazyBackfill",
    "OnnxAligner",
    "PairSplit",
    "PairedEmbeddings",
    "Qrels",
    "Registry",
    "RetrievalReport",
    "SpaceVersion",
    "VerificationReport",
    "convert_embeddings",
    "convert_file",
    "cut_texts",
    "decide",
    "evaluate_retrieval",
    "evaluate_upgrade",
    "evaluate_verification",
    "extract_embeddings",
    "fit_affine",
    "fit_aligner",
    "fit_artifact",
    "fit_bidirectional",
    "fit_neural",
    "learning_curve",
    "list_extractors",
    "load_aligner",
    "load_extractor",
    "pair_embeddings",
    "plan_backfill",
    "push_to_hub",
    "read_artifact",
    "read_qrels",
    "sample_gallery",
    "save_aligner_pair",
    "save_artifact",
    "select_aligner",
    "split_pairs",
    "write_report",
]


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
