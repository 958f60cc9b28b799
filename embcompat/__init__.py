"""Replace an embedding model without throwing away the vectors you have stored.

Names are loaded when they are first used, so that importing embcompat costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embcompat.aligners import AffineAligner, Aligner, AlignerPair, fit_affine, load_aligner
    from embcompat.aligners.canonical import fit_canonical
    from embcompat.aligners.kernel import fit_kernel
    from embcompat.aligners.output import match_variance, reweight
    from embcompat.aligners.shared import shared_space
    from embcompat.aligners.streaming import stream_sums
    from embcompat.artifact import Artifact, read_artifact
    from embcompat.backfill import Backlog, Budget, backfill_curve, backfill_order, plan_backfill
    from embcompat.backfill.lazy.backfill import LazyBackfill
    from embcompat.chains import compose, convert_through, evaluate_path, path, save_composed, scores_via
    from embcompat.decision import Decision, decide
    from embcompat.doctor import SpaceReference, examine, fit_reference
    from embcompat.embeddings import (
        Embeddings,
        PairedEmbeddings,
        PairSplit,
        convert_embeddings,
        cut_texts,
        pair_embeddings,
        split_pairs,
    )
    from embcompat.evaluation import Estimate, Qrels, RetrievalReport, evaluate_retrieval, read_qrels
    from embcompat.evaluation.verification.report import VerificationReport, evaluate_verification
    from embcompat.export import save_aligner_pair, save_artifact
    from embcompat.extractors import Extractor, extract_embeddings, list_extractors, load_extractor
    from embcompat.migration import convert_file
    from embcompat.registry import Registry
    from embcompat.report import write_report
    from embcompat.runtime import OnnxAligner
    from embcompat.selection import fit_aligner, learning_curve, select_aligner
    from embcompat.spaces import SpaceVersion
    from embcompat.training import fit_bidirectional, fit_neural

_HOMES = {
    "embcompat.aligners": ("AffineAligner", "Aligner", "AlignerPair", "fit_affine", "load_aligner"),
    "embcompat.aligners.canonical": ("fit_canonical",),
    "embcompat.aligners.kernel": ("fit_kernel",),
    "embcompat.aligners.output": ("match_variance", "reweight"),
    "embcompat.aligners.shared": ("shared_space",),
    "embcompat.aligners.streaming": ("stream_sums",),
    "embcompat.artifact": ("Artifact", "read_artifact"),
    "embcompat.backfill": ("Backlog", "Budget", "backfill_curve", "backfill_order", "plan_backfill"),
    "embcompat.backfill.lazy.backfill": ("LazyBackfill",),
    "embcompat.chains": ("compose", "convert_through", "evaluate_path", "path", "save_composed", "scores_via"),
    "embcompat.decision": ("Decision", "decide"),
    "embcompat.doctor": ("SpaceReference", "examine", "fit_reference"),
    "embcompat.embeddings": (
        "Embeddings",
        "PairSplit",
        "PairedEmbeddings",
        "convert_embeddings",
        "cut_texts",
        "pair_embeddings",
        "split_pairs",
    ),
    "embcompat.evaluation": ("Estimate", "Qrels", "RetrievalReport", "evaluate_retrieval", "read_qrels"),
    "embcompat.evaluation.verification.report": ("VerificationReport", "evaluate_verification"),
    "embcompat.export": ("save_aligner_pair", "save_artifact"),
    "embcompat.extractors": ("Extractor", "extract_embeddings", "list_extractors", "load_extractor"),
    "embcompat.migration": ("convert_file",),
    "embcompat.registry": ("Registry",),
    "embcompat.report": ("write_report",),
    "embcompat.runtime": ("OnnxAligner",),
    "embcompat.selection": ("fit_aligner", "learning_curve", "select_aligner"),
    "embcompat.spaces": ("SpaceVersion",),
    "embcompat.training": ("fit_bidirectional", "fit_neural"),
}

__all__ = [
    "AffineAligner",
    "Aligner",
    "AlignerPair",
    "Artifact",
    "Backlog",
    "Budget",
    "Decision",
    "Embeddings",
    "Estimate",
    "Extractor",
    "LazyBackfill",
    "OnnxAligner",
    "PairSplit",
    "PairedEmbeddings",
    "Qrels",
    "Registry",
    "RetrievalReport",
    "SpaceReference",
    "SpaceVersion",
    "VerificationReport",
    "backfill_curve",
    "backfill_order",
    "compose",
    "convert_embeddings",
    "convert_file",
    "convert_through",
    "cut_texts",
    "decide",
    "evaluate_path",
    "evaluate_retrieval",
    "evaluate_verification",
    "examine",
    "extract_embeddings",
    "fit_affine",
    "fit_aligner",
    "fit_bidirectional",
    "fit_canonical",
    "fit_kernel",
    "fit_neural",
    "fit_reference",
    "learning_curve",
    "list_extractors",
    "load_aligner",
    "load_extractor",
    "match_variance",
    "pair_embeddings",
    "path",
    "plan_backfill",
    "read_artifact",
    "read_qrels",
    "reweight",
    "save_aligner_pair",
    "save_artifact",
    "save_composed",
    "scores_via",
    "select_aligner",
    "shared_space",
    "split_pairs",
    "stream_sums",
    "write_report",
]


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
