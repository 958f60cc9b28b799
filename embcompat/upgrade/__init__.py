"""One upgrade, judged: the cases, the modes, and what to do."""

from embcompat.results import MIXED_MODES, MODES, Decision, Mode, Model, Option
from embcompat.upgrade.cases import (
    Galleries,
    SearchCase,
    build_search_case,
    hold_out,
    join_galleries,
    judge_by_neighbours,
    unseen_subjects,
)
from embcompat.upgrade.decision.decide import QUALITY_FLOOR, decide
from embcompat.upgrade.decision.options import measured_options, option_from
from embcompat.upgrade.evaluate import evaluate_upgrade
from embcompat.upgrade.evaluation import Evaluation
from embcompat.upgrade.maps import OnnxMaps, open_maps
from embcompat.upgrade.modes import MeasuredModes, measure_modes

__all__ = [
    "MIXED_MODES",
    "MODES",
    "QUALITY_FLOOR",
    "Decision",
    "Evaluation",
    "Galleries",
    "MeasuredModes",
    "Mode",
    "Model",
    "OnnxMaps",
    "Option",
    "SearchCase",
    "build_search_case",
    "decide",
    "evaluate_upgrade",
    "hold_out",
    "join_galleries",
    "judge_by_neighbours",
    "measure_modes",
    "measured_options",
    "open_maps",
    "option_from",
    "unseen_subjects",
]
