"""One entry point for every fit."""

from __future__ import annotations

from typing import Any

from embcompat.aligners import (
    Aligner,
    AlignerPair,
    EnsembleAligner,
    KernelAligner,
    find_plugin_aligner,
    fit_affine,
    fit_canonical,
    fit_kernel,
    list_plugin_aligners,
)
from embcompat.embeddings import PairedEmbeddings, piece_rows
from embcompat.errors import InputError, UnknownNameError
from embcompat.selection.arrays import split_arrays

SOLVER_KINDS = ("identity", "ridge", "procrustes", "low_rank")
NEURAL_KINDS = ("residual", "dense", "multi_branch")
TORCH_KINDS = (*NEURAL_KINDS, "ensemble")
"""Kinds of single aligners that are fitted with torch."""

PAIR_KINDS = ("canonical", "bidirectional")
KINDS = (*SOLVER_KINDS, "kernel", "pieces", *NEURAL_KINDS, "ensemble", *PAIR_KINDS)


def fit_aligner(
    kind: str, train: PairedEmbeddings | Any, validation: PairedEmbeddings | Any, *, seed: int = 0, **options: Any
) -> Aligner | AlignerPair:
    """Fit an aligner of any kind, on pairs or on plain arrays.

    ``fit_aligner(kind, X, Y)`` takes old and new vectors of the same items, row by row: arrays, lists or tensors. A
    part of the rows is then held out for what the fit chooses.

    Args:
        kind: One of `KINDS`, a kind of an installed package, or ``auto`` for the choice of `select_aligner`.
        train: Pairs to fit on; or old vectors (n, source_dim).
        validation: Held-out pairs for whatever the fit chooses: a penalty, when to stop; or new vectors
            (n, target_dim).
        seed: Seed of the kinds that draw at random.
        options: Options of the kind's own fit: `fit_affine`, `fit_canonical`, `fit_kernel`, `fit_pieces`, `fit_neural`,
            `fit_ensemble`, `fit_bidirectional`, or the ``fit`` of a package. With ``refit=True`` the closed forms and
            the ensemble's kernel are fitted on the validation pairs too, once those have chosen the penalties.

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
    if kind == "pieces":
        return fit_pieces(train, validation, seed=seed, **options)
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
    plugin = find_plugin_aligner(kind)
    if plugin is None:
        raise UnknownNameError("kind of aligner", kind, fit_kinds())
    return plugin.fit(train, validation, seed=seed, **options)


def fit_kinds() -> list[str]:
    """List the kinds that can be fitted: `KINDS`, and those of installed packages."""
    return [*KINDS, *(plugin.name for plugin in list_plugin_aligners() if plugin.name not in KINDS)]


def fit_ensemble(
    train: PairedEmbeddings,
    validation: PairedEmbeddings,
    *,
    network: Aligner | None = None,
    kernel: KernelAligner | None = None,
    seed: int = 0,
    **options: Any,
) -> EnsembleAligner:
    """Fit a kernel aligner and a residual network and average them: they err in different directions [ours].

    The kernel aligner needs validation pairs only for its penalties, so it is fitted on them too; the network is not,
    because they decide when its training stops.

    Args:
        train: Pairs to fit on.
        validation: Held-out pairs.
        network: The residual aligner, if it is fitted already.
        kernel: The kernel aligner, if it is fitted already.
        seed: Seed of both fits.
        options: Options of the network's fit, see `fit_neural`.

    Raises:
        MissingExtraError: If the network is to be fitted and torch is not installed.
    """
    if network is None:
        from embcompat.training import fit_neural

        network = fit_neural(train, validation, kind="residual", seed=seed, **options)
    if kernel is None:
        kernel = fit_kernel(train, validation, refit=True, seed=seed)
    return EnsembleAligner([kernel, network], normalize=train.target.space.normalized)


def fit_pieces(
    train: PairedEmbeddings, validation: PairedEmbeddings, *, seed: int = 0, **options: Any
) -> EnsembleAligner:
    """Average a kernel aligner of the whole texts and one of whole texts and their pieces [ours].

    The first knows what a stored vector looks like, the second what a query looks like.

    Args:
        train: Pairs of whole texts and of pieces that `cut_texts` cut.
        validation: Held-out pairs of both.
        seed: Seed of both fits.
        options: Options of both fits, see `fit_kernel`.

    Raises:
        InputError: If the training pairs hold no pieces, or nothing but pieces.
    """
    parts = [pairs.select(~piece_rows(pairs)) for pairs in (train, validation)]
    if len(parts[0]) in (0, len(train)):
        raise InputError(
            f"the kind pieces needs whole texts and pieces of them. Got {len(parts[0])} whole texts among "
            f"{len(train)} pairs. Cut the texts with cut_texts, or embed with --pieces."
        )
    members = [fit_kernel(*sides, seed=seed, **options) for sides in (parts, (train, validation))]
    return EnsembleAligner(members, normalize=train.target.space.normalized)


def single_aligner(fitted: Aligner | AlignerPair, kind: str) -> Aligner:
    """Return what was fitted, unless it is a pair.

    Raises:
        InputError: If it is a pair.
    """
    if isinstance(fitted, AlignerPair):
        raise InputError(f"{kind} fits a pair of aligners, which moves the new side too, and cannot be compared here.")
    return fitted
