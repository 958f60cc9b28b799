"""Fit any kind of aligner, choose among several by cross-fitting, find out how many pairs are enough."""

from embcompat.results import LearningCurve, Scored
from embcompat.selection.artifacts import FittedArtifact, fit_artifact, leave_out
from embcompat.selection.candidates import CANDIDATES, Candidate, Task, default_candidates, parse_candidate
from embcompat.selection.choose import Selection, fit_corrected, select_aligner
from embcompat.selection.curve import learning_curve
from embcompat.selection.fitting import KINDS, NEURAL_KINDS, fit_aligner, fit_ensemble
from embcompat.selection.scoring import Objective
from embcompat.selection.text import Part, TextAwareFit, fit_text_aware

__all__ = [
    "CANDIDATES",
    "KINDS",
    "NEURAL_KINDS",
    "Candidate",
    "FittedArtifact",
    "LearningCurve",
    "Objective",
    "Part",
    "Scored",
    "Selection",
    "Task",
    "TextAwareFit",
    "default_candidates",
    "fit_aligner",
    "fit_artifact",
    "fit_corrected",
    "fit_ensemble",
    "fit_text_aware",
    "learning_curve",
    "leave_out",
    "parse_candidate",
    "select_aligner",
]
