"""Choose among candidate aligners by cross-fitting, and fit the chosen one on all pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embcompat.aligners import Aligner
from embcompat.embeddings import PairedEmbeddings, PairSplit, piece_rows, stack_pairs, transform_embeddings
from embcompat.errors import InputError
from embcompat.evaluation.bootstrap import bootstrap_difference, bootstrap_mean
from embcompat.progress import Advance, ProgressFactory, silent
from embcompat.results import Estimate, Scored
from embcompat.selection.candidates import Candidate, Task, default_candidates, parse_candidate
from embcompat.selection.crossfit import CrossFit, correct, correct_folds, cross_fit, fit_candidate
from embcompat.selection.fitting import TORCH_KINDS
from embcompat.selection.scoring import (
    Objective,
    neighbour_scores,
    piece_scores,
    sample_rows,
    subject_rows,
    subject_scores,
)

FOLDS, NEURAL_FOLDS = 4, 3
"""Folds of the cross-fitting; fewer where a candidate is a network, which takes long to fit [ours].

Where the score reads a sample of the pairs and no candidate has a correction, which is fitted on the conversions of
all, only the sample is held out, in as many folds as leave each fit about the same share of the pairs: one, from 8,000
pairs on.
"""

FEW_PAIRS, REPEATS = 1_000, 2
"""Up to this number of pairs, the cross-fitting is done this often, on other folds each time [ours]."""

COMPARED_PAIRS, COMPARED_LABELS = 20_000, 200
"""Most pairs on which candidates are compared, and fewest labels among them: a random sample of whole labels. On that
many pairs the intervals are far narrower than the differences between candidates [ours]."""


@dataclass(frozen=True, eq=False)
class Selection:
    """The outcome of a selection.

    Attributes:
        aligner: The chosen candidate, fitted on all pairs.
        candidate: The chosen one: the first candidate, in the order given, that is as good as the best.
        chosen: Its row among the candidates.
        candidates: All of them, in the order given.
        metric: Name of the score.
        compared: Number of pairs on which they were compared; the chosen one is fitted on all.
    """

    aligner: Aligner
    candidate: Candidate
    chosen: Scored
    candidates: tuple[Scored, ...]
    metric: str
    compared: int


def select_aligner(
    train: PairedEmbeddings,
    validation: PairedEmbeddings,
    *,
    task: Task = "retrieval",
    candidates: Sequence[Candidate | str] | None = None,
    objective: Objective = "balanced",
    seed: int = 0,
    progress: ProgressFactory = silent,
) -> Selection:
    """Choose among candidates by cross-fitting, and fit the chosen one on all pairs.

    Each pair that is scored is converted by aligners that were fitted without it: all pairs, or a random sample of
    about 3,000. Of more than 20,000 pairs, a random sample of about that size takes part in the comparison. A sample
    holds all pairs of a label or none. Corrections are fitted on conversions of all pairs that take part. For retrieval
    the score is the share of an item's native neighbours that are found among the converted items; where there are
    pieces (`cut_texts`), which resemble queries, it is how far a piece's own text stands out among the converted ones
    (`piece_scores`). For verification it is how well a subject is separated from the others (`subject_scores`). A
    candidate is as good as the best when the interval of its *paired* difference includes 0; of those, the first in the
    order of the candidates is chosen: the prior order, learned from recorded experiments (`CANDIDATES`).

    Args:
        train: Pairs to fit on.
        validation: More pairs, without a label of ``train``. They decide when a chosen network stops training; any
            other kind is fitted on them too.
        task: What the vectors are for.
        candidates: Candidates to try, or names such as ``"kernel, reweighted"``, in prior order; those that suit the
            task and the pairs when None, see `default_candidates`.
        objective: What counts as best in verification, see `Objective`.
        seed: Seed of folds, fits and bootstrap.
        progress: Takes the number of fits; yields a function that takes the number of those newly done.

    Raises:
        InputError: If there is no candidate, one fits a pair of aligners, there are too few pairs, or verification
            lacks labels.
    """
    pairs = stack_pairs(*_compared(train, validation, seed))
    entrants = candidate_list(pairs, task, candidates)
    if not entrants:
        raise InputError("at least one candidate is needed. Got none.")
    score = _score_of(task, objective, pairs, seed)
    plan = _plan(entrants, pairs, score)
    with progress(plan.repeats * plan.folds * len(entrants) + 1) as advance:
        values, fits = _cross_fitted_scores(entrants, pairs, score, plan, seed, advance)
        best = values[int(np.argmax([each.mean() for each in values]))]
        against = [bootstrap_difference(each, best, seed=seed) for each in values]
        rows = tuple(
            Scored(
                name=candidate.name,
                kind=candidate.kind,
                parameters=fit.parameters,
                fit_seconds=fit.fit_seconds,
                score=bootstrap_mean(each, seed=seed),
                against_best=difference,
                as_good=difference.high >= 0,
            )
            for candidate, fit, each, difference in zip(entrants, fits, values, against, strict=True)
        )
        number = next(number for number, row in enumerate(rows) if row.as_good)
        aligner = fit_candidate(entrants[number], train, validation, seed=seed)
        advance(1)
    return Selection(
        aligner=correct(aligner, entrants[number], fits[number], pairs),
        candidate=entrants[number],
        chosen=rows[number],
        candidates=rows,
        metric=score.name,
        compared=len(pairs),
    )


def fit_corrected(
    candidate: Candidate, train: PairedEmbeddings, validation: PairedEmbeddings, *, seed: int = 0
) -> Aligner:
    """Fit one candidate on all pairs, its correction on cross-fitted conversions of them.

    Of more than 20,000 pairs, the correction takes a random sample of about that size, as in `select_aligner`.

    Raises:
        InputError: If the kind fits a pair of aligners, or there are too few pairs.
    """
    aligner = fit_candidate(candidate, train, validation, seed=seed)
    if candidate.correction is None:
        return aligner
    pairs = stack_pairs(*_compared(train, validation, seed))
    (fit,) = cross_fit([candidate], pairs, folds=_folds([candidate]), seed=seed)
    return correct(aligner, candidate, fit, pairs)


def held_out_gain(aligner: Aligner, candidate: Candidate, split: PairSplit, *, seed: int = 0) -> Estimate:
    """Return the paired gain of an aligner over a candidate on the validation pairs, in the score of retrieval.

    Args:
        aligner: An aligner that was fitted on the training pairs alone; it may read texts.
        candidate: The candidate to compare with; it is fitted on the training pairs here.
        split: The pairs.
        seed: Seed of the candidate's fit and of the bootstrap.
    """
    nothing = split.validation.select(np.zeros(len(split.validation), dtype=bool))
    other = fit_corrected(candidate, split.train, nothing, seed=seed)
    score = _score_of("retrieval", "balanced", split.validation, seed)
    values = [score.values(transform_embeddings(each, split.validation.source)) for each in (aligner, other)]
    return bootstrap_difference(values[0], values[1], seed=seed)


def candidate_list(
    pairs: PairedEmbeddings, task: Task, candidates: Sequence[Candidate | str] | None
) -> tuple[Candidate, ...]:
    """Return the candidates to try, names parsed."""
    if candidates is None:
        return default_candidates(task, pairs)
    return tuple(parse_candidate(each) if isinstance(each, str) else each for each in candidates)


def _compared(train: PairedEmbeddings, validation: PairedEmbeddings, seed: int) -> list[PairedEmbeddings]:
    """Return the pairs to cross-fit on: both parts, or a sample of each in proportion."""
    share = min(1.0, COMPARED_PAIRS / max(1, len(train) + len(validation)))
    if share == 1:
        return [train, validation]
    return [
        part.select(sample_rows(part, seed=seed, rows=int(share * len(part)), labels=COMPARED_LABELS))
        for part in (train, validation)
    ]


@dataclass(frozen=True, eq=False)
class _Score:
    """What candidates are compared by.

    Attributes:
        name: Its name.
        rows: The rows that it reads, ascending.
        values: Conversions of all pairs (n, target_dim) → one value for each unit.
    """

    name: str
    rows: NDArray[np.intp]
    values: Callable[[NDArray[np.float32]], NDArray[np.float64]]


def _score_of(task: Task, objective: Objective, pairs: PairedEmbeddings, seed: int) -> _Score:
    """Return the score of a task."""
    if task == "retrieval" and piece_rows(pairs).any():
        return _Score("piece_margin", np.arange(len(pairs)), lambda converted: piece_scores(converted, pairs))
    rows = sample_rows(pairs, seed=seed, labels=2 * FOLDS)  # enough for every fold, however many rows a label has
    part = pairs.select(rows)
    if task == "verification":
        subject_rows(part)  # refused before the first fit
        name = "genuine_margin" if objective == "balanced" else "minus_false_accepts_per_10000"
        return _Score(name, rows, lambda converted: subject_scores(converted[rows], part, objective))
    return _Score("neighbour_overlap@10", rows, lambda converted: neighbour_scores(converted[rows], part))


@dataclass(frozen=True, eq=False)
class _Plan:
    """How often candidates are fitted, and on what.

    Attributes:
        rows: Rows that are held out in turn.
        folds: Number of folds.
        repeats: How often the cross-fitting is done.
    """

    rows: NDArray[np.intp]
    folds: int
    repeats: int


def _plan(entrants: Sequence[Candidate], pairs: PairedEmbeddings, score: _Score) -> _Plan:
    """Return the fewest fits that convert all that is read, and leave each fit about its share of the pairs."""
    corrected = any(candidate.correction is not None for candidate in entrants)
    rows = np.arange(len(pairs)) if corrected else score.rows
    folds = max(1, round(_folds(entrants) * len(rows) / max(1, len(pairs))))
    repeats = REPEATS if len(pairs) <= FEW_PAIRS and not _has_network(entrants) else 1
    return _Plan(rows, folds, repeats)


def _cross_fitted_scores(
    entrants: Sequence[Candidate], pairs: PairedEmbeddings, score: _Score, plan: _Plan, seed: int, advance: Advance
) -> tuple[list[NDArray[np.float64]], list[CrossFit]]:
    """Return the values of each candidate, the mean over repeats, and the first repeat's fits."""
    rounds = [
        cross_fit(entrants, pairs, folds=plan.folds, rows=plan.rows, seed=seed + number, advance=advance)
        for number in range(plan.repeats)
    ]
    values = [
        np.mean([score.values(correct_folds(candidate, fits[position], pairs)) for fits in rounds], axis=0)
        for position, candidate in enumerate(entrants)
    ]
    return values, rounds[0]


def _folds(entrants: Sequence[Candidate]) -> int:
    return NEURAL_FOLDS if _has_network(entrants) else FOLDS


def _has_network(entrants: Sequence[Candidate]) -> bool:
    return any(candidate.kind in TORCH_KINDS for candidate in entrants)
