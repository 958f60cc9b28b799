"""The verdict: what to do about a new model, from held-out figures."""

from embcompat.decision.choose import QUALITY_FLOOR, Decision, decide
from embcompat.decision.options import MODES, Mode, Model, Option, measured_options, option_from

__all__ = [
    "MODES",
    "QUALITY_FLOOR",
    "Decision",
    "Mode",
    "Model",
    "Option",
    "decide",
    "measured_options",
    "option_from",
]
