"""Evaluate vectors: scores, exact search, retrieval figures and their uncertainty. numpy only."""

from embcompat.evaluation.bootstrap import bootstrap_difference, bootstrap_mean, bootstrap_ratio
from embcompat.evaluation.nearest import search
from embcompat.evaluation.retrieval.evaluate import FUSED_WEIGHTS, evaluate_retrieval
from embcompat.evaluation.retrieval.judgements import read_qrels
from embcompat.evaluation.retrieval.metrics import METRICS, metric_per_query
from embcompat.evaluation.retrieval.qrels import Qrels
from embcompat.evaluation.similarity import pairwise_scores, row_scores
from embcompat.evaluation.verification import (
    VerificationReport,
    evaluate_verification,
    scenario_pairs,
    transfer_threshold,
)
from embcompat.results import Estimate, GalleryPart, RetrievalReport

__all__ = [
    "FUSED_WEIGHTS",
    "METRICS",
    "Estimate",
    "GalleryPart",
    "Qrels",
    "RetrievalReport",
    "VerificationReport",
    "bootstrap_difference",
    "bootstrap_mean",
    "bootstrap_ratio",
    "evaluate_retrieval",
    "evaluate_verification",
    "metric_per_query",
    "pairwise_scores",
    "read_qrels",
    "row_scores",
    "scenario_pairs",
    "search",
    "transfer_threshold",
]
