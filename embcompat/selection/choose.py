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
from embcompat.selection.scoring import Objective, neighbour_scores, piece_scores, sample_rows, subject_scores

FOLDS, NEURAL_FOLDS = 4, 3
"""Folds of the cross-fitting; fewer where a candidate is a network, which takes long to fit [ours]."""

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
    """

    aligner: Aligner
    candidate: Candidate
    chosen: Scored
    candidates: tuple[Scored, ...]
    metric: str


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

    Each pair is converted by aligners that were fitted without it, so every pair contributes to the score. Where there
    are more than 20,000 pairs, candidates are compared, and corrections fitted, on a random sample of about that size:
    all pairs of a label or none. For retrieval the score is the share of an item's native neighbours that are found
    among the converted items; where there are pieces (`cut_texts`), which resemble queries, it is how far a piece's own
    text stands out among the converted ones (`piece_scores`). For verification it is how well a subject is separated
    from the others (`subject_scores`). A candidate is as good as the best when the interval of its *paired* difference
    includes 0; of those, the first in the order of the candidates is chosen: the prior order, learned from recorded
    experiments (`CANDIDATES`).

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
    metric, score = _score_of(task, objective, pairs, seed)
    repeats = REPEATS if len(pairs) <= FEW_PAIRS and not _has_network(entrants) else 1
    with progress(repeats * _folds(entrants) * len(entrants) + 1) as advance:
        values, fits = _cross_fitted_scores(entrants, pairs, score, seed, repeats, advance)
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
        correct(aligner, entrants[number], fits[number], pairs), entrants[number], rows[number], rows, metric
    )


def fit_corrected(
    candidate: Candidate, train: PairedEmbeddings, validation: PairedEmbeddings, *, seed: int = 0
) -> Aligner:
    """Fit one candidate on all pairs, its correction on cross-fitted conversions of them.

    Raises:
        InputError: If the kind fits a pair of aligners, or there are too few pairs.
    """
    aligner = fit_candidate(candidate, train, validation, seed=seed)
    if candidate.correction is None:
        return aligner
    pairs = stack_pairs(train, validation)
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
    _, score = _score_of("retrieval", "balanced", split.validation, seed)
    values = [score(transform_embeddings(each, split.validation.source)) for each in (aligner, other)]
    return bootstrap_difference(values[0], values[1], seed=seed)


def candidate_list(
    pairs: PairedEmbeddings, task: Task, candidates: Sequence[Candidate | str] | None
) -> tuple[Candidate, ...]:
    """Return the candidates to try, names parsed."""
    if candidates is None:
        return default_candidates(task, pairs)
    return tuple(parse_candidate(each) if isinstance(each, str) else each for each in candidates)


def _compared(train: PairedEmbeddings, validation: PairedEmbeddings, seed: int) -> list[PairedEmbeddings]:
    """Return the pairs on which candidates are compared: both parts, or a sample of each in proportion."""
    share = min(1.0, COMPARED_PAIRS / max(1, len(train) + len(validation)))
    if share == 1:
        return [train, validation]
    return [
        part.select(sample_rows(part, seed=seed, rows=int(share * len(part)), labels=COMPARED_LABELS))
        for part in (train, validation)
    ]


_Score = Callable[[NDArray[np.float32]], NDArray[np.float64]]


def _score_of(task: Task, objective: Objective, pairs: PairedEmbeddings, seed: int) -> tuple[str, _Score]:
    """Return the name of the score and its function: conversions of all pairs → one value for each unit."""
    if task == "verification":
        name = "genuine_margin" if objective == "balanced" else "minus_false_accepts_per_10000"
        rows = sample_rows(pairs, seed=seed)
        part = pairs.select(rows)
        return name, lambda converted: subject_scores(converted[rows], part, objective)
    if piece_rows(pairs).any():
        return "piece_margin", lambda converted: piece_scores(converted, pairs)
    rows = sample_rows(pairs, seed=seed)
    part = pairs.select(rows)
    return "neighbour_overlap@10", lambda converted: neighbour_scores(converted[rows], part)


def _cross_fitted_scores(
    entrants: Sequence[Candidate],
    pairs: PairedEmbeddings,
    score: _Score,
    seed: int,
    repeats: int,
    advance: Advance,
) -> tuple[list[NDArray[np.float64]], list[CrossFit]]:
    """Return the values of each candidate, the mean over repeats, and the first repeat's fits."""
    rounds = [
        cross_fit(entrants, pairs, folds=_folds(entrants), seed=seed + number, advance=advance)
        for number in range(repeats)
    ]
    values = [
        np.mean([score(correct_folds(candidate, fits[position], pairs)) for fits in rounds], axis=0)
        for position, candidate in enumerate(entrants)
    ]
    return values, rounds[0]


def _folds(entrants: Sequence[Candidate]) -> int:
    return NEURAL_FOLDS if _has_network(entrants) else FOLDS


def _has_network(entrants: Sequence[Candidate]) -> bool:
    return any(candidate.kind in TORCH_KINDS for candidate in entrants)
