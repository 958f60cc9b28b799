"""One way in to every fit."""

from __future__ import annotations

from typing import Any

from embcompat.aligners import Aligner, AlignerPair, fit_affine
from embcompat.aligners.canonical import fit_canonical
from embcompat.aligners.ensemble import EnsembleAligner
from embcompat.aligners.kernel import fit_kernel
from embcompat.embeddings import PairedEmbeddings
from embcompat.errors import InputError, UnknownNameError

SOLVER_KINDS = ("ridge", "procrustes", "low_rank")
NEURAL_KINDS = ("residual", "dense", "multi_branch")
KINDS = (*SOLVER_KINDS, "canonical", "kernel", *NEURAL_KINDS, "ensemble", "bidirectional")

ENSEMBLE_MEMBERS = ("kernel", "residual")
"""What ``ensemble`` averages: a closed form and a network, which err in different directions [ours]."""


def fit_aligner(
    kind: str, train: PairedEmbeddings, validation: PairedEmbeddings, *, seed: int = 0, **options: Any
) -> Aligner | AlignerPair:
    """Fit an aligner of any kind.

    Args:
        kind: One of `KINDS`.
        train: Pairs to fit on.
        validation: Held-out pairs for whatever the fit chooses: a penalty, when to stop.
        seed: Seed of the kinds that draw at random.
        options: Options of the kind's own fit: `fit_affine`, `fit_canonical`, `fit_kernel`, `fit_neural` or
            `fit_bidirectional`; those of ``ensemble`` go to its neural member.

    Returns:
        An aligner; a pair for ``canonical`` and ``bidirectional``, whose two maps meet in a third space.

    Raises:
        UnknownNameError: If there is no such kind.
        MissingExtraError: If the kind needs torch and it is not installed.
    """
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
        members = [
            single_aligner(fit_aligner(member, train, validation, seed=seed, **given), member)
            for member, given in zip(ENSEMBLE_MEMBERS, ({}, options), strict=True)
        ]
        return EnsembleAligner(members, normalize=train.target.space.normalized)
    if kind == "bidirectional":
        from embcompat.training import fit_bidirectional

        return fit_bidirectional(train, validation, seed=seed, **options)
    raise UnknownNameError("kind of aligner", kind, KINDS)


def single_aligner(fitted: Aligner | AlignerPair, kind: str) -> Aligner:
    """Return what was fitted, unless it is a pair.

    Raises:
        InputError: If it is a pair.
    """
    if isinstance(fitted, AlignerPair):
        raise InputError(f"{kind} fits a pair of aligners, which moves the new side too, and cannot be compared here.")
    return fitted
