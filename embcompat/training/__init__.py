"""Training of the neural aligners. The import loads no torch; a fit does, and needs ``embcompat[train]``."""

from embcompat.training.fit import fit_bidirectional, fit_neural
from embcompat.training.options import RunOptions
from embcompat.training.presets import DEFAULT_PRESETS, PRESETS, Preset, find_preset

__all__ = [
    "DEFAULT_PRESETS",
    "PRESETS",
    "Preset",
    "RunOptions",
    "find_preset",
    "fit_bidirectional",
    "fit_neural",
]
