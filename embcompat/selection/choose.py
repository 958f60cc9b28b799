"""Choose among candidate aligners on held-out pairs: the cheapest that is as good as the best."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from embcompat.aligners import Aligner, parameter_count
from embcompat.aligners.output import reweight
from embcompat.embeddings import PairedEmbeddings, split_pairs
from embcompat.errors import InputError
from embcompat.evaluation.bootstrap import Estimate, bootstrap_difference, bootstrap_mean
from embcompat.selection.fitting import NEURAL_KINDS, fit_aligner, single_aligner
from embcompat.selection.scoring import Objective, neighbour_scores, subject_scores

Task = Literal["retrieval", "verification"]

Score = Callable[[Aligner, PairedEmbeddings], NDArray[np.float64]]
"""Gives each held-out item or subject a value for an aligner; larger is better."""

Fitted = dict[tuple[str, str], tuple[Aligner, float]]
"""What was fitted, by kind and options, with its seconds."""


@dataclass(frozen=True)
class Candidate:
    """One aligner to try.

    Attributes:
        name: What to call it.
        kind: One of `KINDS` that gives a single aligner.
        options: Options of its fit.
        reweighted: Whether to weigh down unreliable directions afterwards, see `reweight`.
    """

    name: str
    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)
    reweighted: bool = False


CANDIDATES: dict[Task, tuple[Candidate, ...]] = {
    "retrieval": (Candidate("procrustes", "procrustes"), Candidate("ridge", "ridge"), Candidate("kernel", "kernel")),
    "verification": (
        Candidate("ridge", "ridge"),
        Candidate("ridge, reweighted", "ridge", reweighted=True),
        Candidate("kernel, reweighted", "kernel", reweighted=True),
        Candidate("residual", "residual"),
        Candidate("residual, reweighted", "residual", reweighted=True),
        Candidate("ensemble, reweighted", "ensemble", reweighted=True),
    ),
}
"""What ``auto`` tries, the cheapest first [ours]."""


@dataclass(frozen=True, eq=False)
class Scored:
    """A candidate that was fitted and scored on held-out pairs.

    Attributes:
        candidate: What it is.
        aligner: The fitted aligner.
        fit_seconds: How long the fit took.
        score: Its figure, larger is better.
        against_best: Paired difference from the best figure.
        as_good: Whether that interval includes 0.
    """

    candidate: Candidate
    aligner: Aligner
    fit_seconds: float
    score: Estimate
    against_best: Estimate
    as_good: bool

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the row of the table as JSON."""
        return {
            "name": self.candidate.name,
            "kind": self.aligner.kind,
            "parameters": parameter_count(self.aligner),
            "fit_seconds": self.fit_seconds,
            "score": dict(self.score.to_dict()),
            "against_best": dict(self.against_best.to_dict()),
            "as_good": self.as_good,
        }


@dataclass(frozen=True, eq=False)
class Selection:
    """The outcome of a selection.

    Attributes:
        chosen: The cheapest candidate that is as good as the best.
        candidates: All of them, the cheapest first.
        metric: What the scores are.
    """

    chosen: Scored
    candidates: tuple[Scored, ...]
    metric: str

    @property
    def aligner(self) -> Aligner:
        """The chosen aligner."""
        return self.chosen.aligner


def select_aligner(
    train: PairedEmbeddings,
    validation: PairedEmbeddings,
    *,
    task: Task = "retrieval",
    candidates: Sequence[Candidate] | None = None,
    objective: Objective = "balanced",
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Selection:
    """Fit candidates, score them on held-out pairs, and choose the cheapest that is as good as the best.

    The score is the mean over held-out items or subjects. For retrieval it is the share of an item's native neighbours
    that the converted gallery finds; for verification it says how well a subject is kept apart from the others
    (`subject_scores`). A candidate is as good as the best when the interval of its *paired* difference includes 0. Half
    of the validation pairs, by label, serves the fits (penalties, stopping, reweighting); the other half, which no fit
    has seen, scores all of them.

    Args:
        train: Pairs to fit on.
        validation: Held-out pairs to choose on, without a label of ``train``.
        task: What the vectors are for.
        candidates: What to try, the cheapest first; `CANDIDATES` of the task when None, neural ones only where torch
            is installed.
        objective: What is best in verification.
        seed: Seed of fits, halves and bootstrap.
        progress: Called with 1 after each candidate.

    Raises:
        InputError: If there is no candidate, one fits a pair of aligners, or verification lacks labels.
    """
    tried = _default_candidates(task) if candidates is None else tuple(candidates)
    if not tried:
        raise InputError("at least one candidate is needed. Got none.")
    halves = split_pairs(validation, validation=0.0, test=0.5, seed=seed)
    fit_on, score_on = halves.train, halves.test
    metric, score = _score_of(task, objective)
    fitted: Fitted = {}
    aligners, seconds = [], []
    for candidate in tried:
        key = candidate.kind, repr(sorted(candidate.options.items()))
        if key not in fitted:
            fitted[key] = _fit_one(candidate, train, fit_on, seed, fitted)
        aligner, spent = fitted[key]
        aligners.append(_reweighted(aligner, train, fit_on) if candidate.reweighted else aligner)
        seconds.append(spent)
        if progress is not None:
            progress(1)
    values = [score(aligner, score_on) for aligner in aligners]
    best = values[int(np.argmax([found.mean() for found in values]))]
    against = [bootstrap_difference(found, best, seed=seed) for found in values]
    rows = tuple(
        Scored(candidate, aligner, spent, bootstrap_mean(found, seed=seed), difference, difference.high >= 0)
        for candidate, aligner, spent, found, difference in zip(tried, aligners, seconds, values, against, strict=True)
    )
    return Selection(next(row for row in rows if row.as_good), rows, metric)


def _score_of(task: Task, objective: Objective) -> tuple[str, Score]:
    """Return the name and the function of what candidates are scored by."""
    if task == "retrieval":
        return "neighbour_overlap@10", neighbour_scores
    name = "genuine_margin" if objective == "balanced" else "minus_false_accepts_per_10000"
    return name, partial(subject_scores, objective=objective)


def _default_candidates(task: Task) -> tuple[Candidate, ...]:
    has_torch = find_spec("torch") is not None and find_spec("lightning") is not None
    needs_torch = (*NEURAL_KINDS, "ensemble")
    return tuple(candidate for candidate in CANDIDATES[task] if has_torch or candidate.kind not in needs_torch)


def _fit_one(
    candidate: Candidate, train: PairedEmbeddings, validation: PairedEmbeddings, seed: int, before: Fitted
) -> tuple[Aligner, float]:
    """Fit a candidate and time it; an ensemble takes the network that was fitted before it."""
    options, spent = dict(candidate.options), 0.0
    if candidate.kind == "ensemble" and (network := before.get(("residual", repr(sorted(options.items()))))):
        options, spent = {"network": network[0]}, network[1]
    start = time.perf_counter()
    fitted = fit_aligner(candidate.kind, train, validation, seed=seed, **options)
    return single_aligner(fitted, candidate.kind), spent + time.perf_counter() - start


def _reweighted(aligner: Aligner, train: PairedEmbeddings, held_out: PairedEmbeddings) -> Aligner:
    return reweight(aligner, held_out, labelled=train.target if train.target.labels is not None else None)
