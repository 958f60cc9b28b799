"""The neural part of the zoo; needs ``embcompat[train]``."""

from embcompat.errors import MissingExtraError

try:
    import torch  # noqa: F401
except ImportError as error:
    raise MissingExtraError("torch", "embcompat[train]", "A neural aligner") from error

from embcompat.aligners.neural.networks import (
    NEURAL_ALIGNERS,
    DenseAligner,
    MultiBranchAligner,
    ResidualAligner,
    create_aligner,
)

__all__ = ["NEURAL_ALIGNERS", "DenseAligner", "MultiBranchAligner", "ResidualAligner", "create_aligner"]
