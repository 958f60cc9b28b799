"""Cross-fitting: a pair is converted by an aligner that was fitted without it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embcompat.aligners import (
    AffineAligner,
    Aligner,
    ReweightedAligner,
    match_variance,
    parameter_count,
    reweight,
)
from embcompat.embeddings import Embeddings, PairedEmbeddings, piece_rows, split_pairs, transform_embeddings
from embcompat.errors import InputError
from embcompat.progress import Advance
from embcompat.selection.candidates import Candidate
from embcompat.selection.fitting import SOLVER_KINDS, fit_aligner, single_aligner

INNER_VALIDATION = 0.175
"""Share of the pairs of a fit that chooses its penalties, or when to stop; as in `split_pairs`."""

_REFITTED = (*SOLVER_KINDS, "kernel", "pieces")

_Key = tuple[str, str]


@dataclass(frozen=True, eq=False)
class CrossFit:
    """One kind, cross-fitted.

    Attributes:
        converted: Source vectors, converted by an aligner that was fitted without them (n, target_dim); NaN where a row
            has no fold.
        fold: Number of each pair's fold (n,); −1 for a pair that every aligner was fitted on.
        fit_seconds: Mean time of one fit.
        parameters: Number of floats that one aligner stores.
        normalize: Whether the aligners normalize their output.
    """

    converted: NDArray[np.float32]
    fold: NDArray[np.intp]
    fit_seconds: float
    parameters: int
    normalize: bool


def fit_candidate(
    candidate: Candidate,
    train: PairedEmbeddings,
    validation: PairedEmbeddings,
    *,
    seed: int = 0,
    members: Mapping[str, Aligner] | None = None,
) -> Aligner:
    """Fit a candidate's kind, without its correction, on the pairs of both parts.

    Penalties are chosen on the validation pairs first, or on a part of the training pairs if there are none. A neural
    kind keeps them apart: they decide when training stops.

    Args:
        candidate: The candidate to fit.
        train: Pairs to fit on.
        validation: Pairs to choose on, then to fit on.
        seed: Seed of the fit.
        members: Fitted members of an ensemble, by their names in `fit_ensemble`.

    Raises:
        InputError: If the kind fits a pair of aligners.
    """
    if not len(validation):
        parts = split_pairs(train, validation=INNER_VALIDATION, test=0.0, seed=seed)
        train, validation = parts.train, parts.validation
    options: dict[str, Any] = dict(candidate.options)
    if candidate.kind == "ensemble":
        options |= members or {}
    elif candidate.kind in _REFITTED:
        options["refit"] = True
    return single_aligner(fit_aligner(candidate.kind, train, validation, seed=seed, **options), candidate.kind)


def cross_fit(
    candidates: Sequence[Candidate],
    pairs: PairedEmbeddings,
    *,
    folds: int,
    seed: int,
    rows: NDArray[np.intp] | None = None,
    advance: Advance | None = None,
) -> list[CrossFit]:
    """Cross-fit the kinds of some candidates on the same folds; a kind that several share is fitted once.

    Args:
        candidates: The candidates to fit.
        pairs: All pairs; rows of one label are in one fold.
        folds: Number of folds. One is enough where ``rows`` leaves pairs to fit on.
        seed: Seed of folds and fits.
        rows: Rows that are held out in turn and converted, with whole labels; all when None. The others are fitted on
            in every fold.
        advance: Called with 1 after each candidate in each fold.

    Returns:
        One result for each candidate, before its correction.

    Raises:
        InputError: If there are fewer labels (pairs, without labels) than folds, or too few pairs for a fit.
    """
    fold = assign_folds(pairs, folds, seed, rows)
    results: dict[_Key, list[Any]] = {}
    for number in range(folds):
        inside = np.flatnonzero(fold == number)
        parts = split_pairs(pairs.select(fold != number), validation=INNER_VALIDATION, test=0.0, seed=seed)
        fitted: dict[_Key, tuple[Aligner, float]] = {}
        for candidate in candidates:
            key = _key(candidate)
            if key not in fitted:
                fitted[key] = _timed_fit(candidate, parts.train, parts.validation, seed, fitted)
                results.setdefault(key, []).append((inside, *fitted[key]))
            if advance is not None:
                advance(1)
    by_key = {key: _joined(parts, pairs, fold) for key, parts in results.items()}
    return [by_key[_key(candidate)] for candidate in candidates]


def assign_folds(
    pairs: PairedEmbeddings, folds: int, seed: int, rows: NDArray[np.intp] | None = None
) -> NDArray[np.intp]:
    """Give each pair a fold (n,), all rows of one label the same; −1 to those that are not among ``rows``.

    Raises:
        InputError: If there are fewer than two labels (pairs, without labels) for each fold.
    """
    rows = np.arange(len(pairs)) if rows is None else rows
    units = (pairs.ids if pairs.labels is None else pairs.labels)[rows]
    names, unit_of = np.unique(units.astype(str), return_inverse=True)
    if len(names) < 2 * folds:
        raise InputError(
            f"choosing an aligner needs at least {2 * folds} pairs with different labels, or without labels. "
            f"Got {len(names)}. Collect more pairs, or name the kind."
        )
    result = np.full(len(pairs), -1, dtype=np.intp)
    result[rows] = np.random.default_rng(seed).permutation(len(names))[unit_of] % folds
    return result


def correct_folds(candidate: Candidate, fit: CrossFit, pairs: PairedEmbeddings) -> NDArray[np.float32]:
    """Return cross-fitted conversions with the candidate's correction, which is fitted on the other folds."""
    if candidate.correction is None:
        return fit.converted
    result = np.empty_like(fit.converted)
    for number in range(int(fit.fold.max()) + 1):
        inside = fit.fold == number
        correction = _correction(candidate, fit, pairs, ~inside)
        result[inside] = correction.transform(fit.converted[inside])
    return result


def correct(aligner: Aligner, candidate: Candidate, fit: CrossFit, pairs: PairedEmbeddings) -> Aligner:
    """Return an aligner that was fitted on all pairs with the candidate's correction, from cross-fitted conversions."""
    if candidate.correction is None:
        return aligner
    correction = _correction(candidate, fit, pairs, np.ones(len(pairs), dtype=bool))
    if isinstance(correction, ReweightedAligner):
        return correction.with_base(aligner)
    state = correction.state()
    return aligner.with_output_map(state["weight"], state["bias"])


def _correction(candidate: Candidate, fit: CrossFit, pairs: PairedEmbeddings, rows: NDArray[np.bool_]) -> Aligner:
    """Fit a correction as an affine aligner of the target space, on some cross-fitted rows."""
    dim = pairs.target.space.dim
    identity = AffineAligner(np.eye(dim), np.zeros(dim), normalize=fit.normalize)
    part = pairs.select(rows)
    target = part.target
    bare = Embeddings.trusted(target.vectors, part.ids, target.space, None)
    converted = PairedEmbeddings(Embeddings.trusted(fit.converted[rows], part.ids, target.space, None), bare)
    if candidate.correction == "stretched":
        return match_variance(identity, converted)
    labels = part.labels
    if labels is None or len(set(labels.tolist())) == len(labels):
        return reweight(identity, converted)
    labelled = Embeddings.trusted(target.vectors, part.ids, target.space, labels)
    pieces = piece_rows(part)
    items = converted.select(~pieces)
    centre = items.source.vectors.mean(axis=0) if pieces.any() else None
    return reweight(identity, items, labelled=labelled, centre=centre)


def _timed_fit(
    candidate: Candidate,
    train: PairedEmbeddings,
    validation: PairedEmbeddings,
    seed: int,
    fitted: Mapping[_Key, tuple[Aligner, float]],
) -> tuple[Aligner, float]:
    """Fit a candidate and time it; an ensemble takes the members that were fitted before it."""
    members, seconds = {}, 0.0
    if candidate.kind == "ensemble":
        for name, member in (
            ("network", Candidate("", "residual", candidate.options)),
            ("kernel", Candidate("", "kernel")),
        ):
            if (known := fitted.get(_key(member))) is not None:
                members[name] = known[0]
                seconds += known[1]
    start = time.perf_counter()
    aligner = fit_candidate(candidate, train, validation, seed=seed, members=members)
    return aligner, seconds + time.perf_counter() - start


def _joined(parts: Sequence[Any], pairs: PairedEmbeddings, fold: NDArray[np.intp]) -> CrossFit:
    converted = np.full((len(pairs), pairs.target.space.dim), np.nan, dtype=np.float32)
    for rows, aligner, _ in parts:
        converted[rows] = transform_embeddings(aligner, pairs.source.select(rows))
    last = parts[-1][1]
    seconds = float(np.mean([each[2] for each in parts]))
    return CrossFit(converted, fold, seconds, parameter_count(last), last.normalize)


def _key(candidate: Candidate) -> _Key:
    return candidate.kind, repr(sorted(candidate.options.items()))
