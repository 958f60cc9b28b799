"""A whole upgrade, from a gallery in use to a new model in service, as steps that resume."""

from embcompat.results import CONVERTING_MODES
from embcompat.upgrade.line.description import Upgrade, read_upgrade
from embcompat.upgrade.line.run import apply_upgrade, run_command, run_upgrade, upgrade_line
from embcompat.upgrade.line.state import StepState, UpgradeLine
from embcompat.upgrade.line.steps import Step

__all__ = [
    "CONVERTING_MODES",
    "Step",
    "StepState",
    "Upgrade",
    "UpgradeLine",
    "apply_upgrade",
    "read_upgrade",
    "run_command",
    "run_upgrade",
    "upgrade_line",
]
