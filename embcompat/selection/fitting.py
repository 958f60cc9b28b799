"""One way in to every fit."""

from __future__ import annotations

from typing import Any

from embcompat.aligners import Aligner, AlignerPair, fit_affine
from embcompat.aligners.canonical import fit_canonical
from embcompat.aligners.ensemble import EnsembleAligner
from embcompat.aligners.kernel import fit_kernel
from embcompat.embeddings import PairedEmbeddings
from embcompat.errors import InputError, UnknownNameError
from embcompat.selection.arrays import split_arrays

SOLVER_KINDS = ("ridge", "procrustes", "low_rank")
NEURAL_KINDS = ("residual", "dense", "multi_branch")
KINDS = (*SOLVER_KINDS, "canonical", "kernel", *NEURAL_KINDS, "ensemble", "bidirectional")


def fit_aligner(
    kind: str, train: PairedEmbeddings | Any, validation: PairedEmbeddings | Any, *, seed: int = 0, **options: Any
) -> Aligner | AlignerPair:
    """Fit an aligner of any kind, on pairs or on plain arrays.

    ``fit_aligner(kind, X, Y)`` takes old and new vectors of the same items, row by row: arrays, lists or tensors. A
    part of the rows is then held out for what the fit chooses.

    Args:
        kind: One of `KINDS`, or ``auto`` for what `select_aligner` chooses.
        train: Pairs to fit on; or old vectors (n, source_dim).
        validation: Held-out pairs for whatever the fit chooses: a penalty, when to stop; or new vectors
            (n, target_dim).
        seed: Seed of the kinds that draw at random.
        options: Options of the kind's own fit: `fit_affine`, `fit_canonical`, `fit_kernel`, `fit_neural`,
            `fit_ensemble` or `fit_bidirectional`.

    Returns:
        An aligner; a pair for ``canonical`` and ``bidirectional``, whose two maps meet in a third space.

    Raises:
        UnknownNameError: If there is no such kind.
        MissingExtraError: If the kind needs torch and it is not installed.
    """
    if not isinstance(train, PairedEmbeddings):
        train, validation = split_arrays(train, validation, seed=seed)
    if kind == "auto":
        from embcompat.selection.choose import select_aligner

        return select_aligner(train, validation, seed=seed, **options).aligner
    if kind in SOLVER_KINDS:
        return fit_affine(train, validation, solver=kind, **options)  # type: ignore[arg-type]
    if kind == "kernel":
        return fit_kernel(train, validation, seed=seed, **options)
    if kind == "canonical":
        return fit_canonical(train, **options)
    if kind in NEURAL_KINDS:
        from embcompat.training import fit_neural

        return fit_neural(train, validation, kind=kind, seed=seed, **options)
    if kind == "ensemble":
        return fit_ensemble(train, validation, seed=seed, **options)
    if kind == "bidirectional":
        from embcompat.training import fit_bidirectional

        return fit_bidirectional(train, validation, seed=seed, **options)
    raise UnknownNameError("kind of aligner", kind, KINDS)


def fit_ensemble(
    train: PairedEmbeddings,
    validation: PairedEmbeddings,
    *,
    network: Aligner | None = None,
    seed: int = 0,
    **options: Any,
) -> EnsembleAligner:
    """Fit a kernel aligner and a residual network and average them: they err in different directions [ours].

    The kernel aligner, which needs validation pairs for one penalty alone, is fitted on them too; the network is not,
    because they decide when it is best.

    Args:
        train: Pairs to fit on.
        validation: Held-out pairs.
        network: The residual aligner, where it is at hand.
        seed: Seed of both fits.
        options: Options of the network's fit, see `fit_neural`.

    Raises:
        MissingExtraError: If the network is to be fitted and torch is not installed.
    """
    if network is None:
        from embcompat.training import fit_neural

        network = fit_neural(train, validation, kind="residual", seed=seed, **options)
    kernel = fit_kernel(train, validation, refit=True, seed=seed)
    return EnsembleAligner([kernel, network], normalize=train.target.space.normalized)


def single_aligner(fitted: Aligner | AlignerPair, kind: str) -> Aligner:
    """Return what was fitted, unless it is a pair.

    Raises:
        InputError: If it is a pair.
    """
    if isinstance(fitted, AlignerPair):
        raise InputError(f"{kind} fits a pair of aligners, which moves the new side too, and cannot be compared here.")
    return fitted
