"""Training of the neural aligners. Importing it loads no torch; fitting does, and needs ``embcompat[train]``."""

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
