"""Fit any kind of aligner, choose among several on held-out pairs, find out how many pairs are enough."""

from embcompat.selection.choose import CANDIDATES, Candidate, Scored, Selection, Task, select_aligner
from embcompat.selection.curve import LearningCurve, learning_curve
from embcompat.selection.fitting import KINDS, NEURAL_KINDS, fit_aligner
from embcompat.selection.scoring import Objective

__all__ = [
    "CANDIDATES",
    "KINDS",
    "NEURAL_KINDS",
    "Candidate",
    "LearningCurve",
    "Objective",
    "Scored",
    "Selection",
    "Task",
    "fit_aligner",
    "learning_curve",
    "select_aligner",
]
