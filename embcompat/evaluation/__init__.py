"""What vectors are worth: scores, exact search, retrieval figures and their uncertainty. numpy only."""

from embcompat.evaluation.bootstrap import Estimate, bootstrap_difference, bootstrap_mean, bootstrap_ratio
from embcompat.evaluation.similarity import pairwise_scores, row_scores

__all__ = [
    "Estimate",
    "bootstrap_difference",
    "bootstrap_mean",
    "bootstrap_ratio",
    "pairwise_scores",
    "row_scores",
]
