"""Verification against a gallery that is native in part: true accepts at a false accept rate, for many orders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embcompat.backfill.backlog import Backlog
from embcompat.backfill.curves.measured import Float64, Measured, Replicated
from embcompat.backfill.curves.recommend import (
    UNCALIBRATED,
    Scale,
    Turns,
    choose_mixture,
    choose_scale,
    draw_names,
    mixtures,
    plan_turns,
)
from embcompat.backfill.order import score_rows
from embcompat.embeddings import Embeddings
from embcompat.errors import InputError
from embcompat.evaluation.verification.bootstrap import SubjectDraws, draw_subjects
from embcompat.evaluation.verification.counts import ImpostorTail, impostors_above, largest_impostors
from embcompat.evaluation.verification.figures import allowed_votes, frr_at_far
from embcompat.evaluation.verification.pairs import Rows, VerificationPairs, genuine_rows, pair_scores
from embcompat.similarities import Weight

REPLICATES = 200
"""Bootstrap replicates of the subjects [ours]."""

_TAIL = 6.0
"""Impostor pairs that are kept of each side, as a multiple of the false accepts that are allowed [ours]."""


@dataclass(frozen=True, eq=False)
class VerificationTask:
    """Judge by verification: every new vector is a probe, compared with every other row of the mixed gallery.

    On half of the subjects, drawn at random, the calibration and the recommended order are chosen; on the other half
    the figures are measured.

    Attributes:
        far: The false accept rate at which true accepts are counted.
        weight: What has one vote: ``person``, each person and each ordered pair of people, or ``pairs`` of images.
    """

    far: float = 1e-4
    weight: Weight = "person"

    @property
    def metric(self) -> str:
        """What is measured: 1 − FRR."""
        return f"tar@far={self.far:g}"

    def measure(
        self,
        backlog: Backlog,
        new: Embeddings,
        native: NDArray[np.bool_],
        kinds: Sequence[str],
        *,
        steps: int,
        recommend: bool,
    ) -> Measured:
        """Measure orders, and the recommended one if ``recommend``.

        Raises:
            InputError: If there are no labels, or too few subjects.
        """
        if backlog.labels is None:
            raise InputError("verification needs labels that name the subject of each row. Got none.")
        subjects = np.unique(backlog.labels.astype(str), return_inverse=True)[1]
        halves = np.random.default_rng(backlog.seed).permutation(int(subjects.max()) + 1) % 2
        parts = [_People.of(self, backlog, new, np.flatnonzero(halves[subjects] == half), subjects) for half in (0, 1)]
        scores = {kind: score_rows(kind, backlog) for kind in kinds}
        turns = plan_turns(scores, native, steps=steps, mixed=recommend, seed=backlog.seed)
        scale = _choose_scale(parts[0], backlog, turns, steps)
        weights = mixtures(kinds) if recommend else {}
        mixture = None
        if recommend:
            curves = parts[0].measure(scale, {name: turns[name] for name in (*weights, *draw_names())}, steps)
            mixture = choose_mixture({name: curves[name] for name in weights}, _random(curves))
        names = {*kinds, *draw_names()} | ({mixture} if mixture else set())
        curves = parts[1].measure(scale, {name: turns[name] for name in names}, steps)
        reported = {"random": _random(curves), **{kind: curves[kind] for kind in kinds}}
        if recommend:
            reported["recommended"] = curves[mixture] if mixture else reported["random"]
        full = next(iter(reported.values()))
        return Measured(
            reported,
            Replicated(full.values[-1:], full.replicates[:, -1:]),
            parts[1].status_quo(backlog.old),
            weights.get(mixture or "", {}),
            float(scale != UNCALIBRATED),
            int(np.count_nonzero(parts[1].native.rows_of_subjects()[0])),
        )


@dataclass(frozen=True, eq=False)
class _People:
    """Some people's rows, and all their pairs: native and converted."""

    far: float
    rows: Rows
    native: VerificationPairs
    converted: VerificationPairs
    draws: SubjectDraws

    @classmethod
    def of(cls, task: VerificationTask, backlog: Backlog, new: Embeddings, rows: Rows, subjects: Rows) -> _People:
        codes = np.unique(subjects[rows], return_inverse=True)[1]
        probes = new.vectors[rows]
        native, converted = (
            VerificationPairs(probes, side, codes, codes, new.space.similarity, same_items=True, weight=task.weight)
            for side in (probes, backlog.converted.vectors[rows])
        )
        return cls(task.far, rows, native, converted, draw_subjects(native, seed=backlog.seed, replicates=REPLICATES))

    def status_quo(self, old: Embeddings) -> float:
        """Return the metric of old vectors against old vectors."""
        vectors, codes = old.vectors[self.rows], self.native.anchor_subjects
        pairs = VerificationPairs(
            vectors, vectors, codes, codes, old.space.similarity, same_items=True, weight=self.native.weight
        )
        return 1 - frr_at_far(pairs, self.far).frr

    def measure(self, scale: Scale, turns: dict[str, Turns], steps: int) -> dict[str, Replicated]:
        """Return the curve of each order, with the scores of converted rows scaled."""
        anchors, positives = genuine_rows(self.native)
        genuine = np.stack(
            [
                pair_scores(self.native, anchors, positives),
                pair_scores(self.converted, anchors, positives) * scale[0] + scale[1],
            ]
        )
        tail = _Tail.of(self.far, self.native, self.converted, scale)
        curves = {}
        for name, each in turns.items():
            places = each[self.rows]
            points = []
            for step in range(steps):
                is_native = places <= step
                scores = np.where(is_native[positives], genuine[0], genuine[1])
                points.append(self._point(scores, self.native.anchor_subjects[anchors], tail.select(is_native)))
            curves[name] = Replicated(
                np.array([value for value, _ in points]), np.stack([replicates for _, replicates in points], axis=1)
            )
        return curves

    def _point(self, genuine: Float64, subjects: Rows, tail: ImpostorTail) -> tuple[float, Float64]:
        """Return the true accept rate, and its replicates, of genuine scores against a tail of impostor scores."""
        order = np.argsort(genuine)
        genuine, subjects = genuine[order], subjects[order]
        votes = self.native.votes.genuine[subjects]
        rejected = np.searchsorted(genuine, tail.scores, side="right")  # by a threshold at each impostor score

        def true_accepts(drawn: Float64, impostor_votes: float, genuine_votes: float) -> float:
            accepted = np.cumsum(tail.votes * drawn[tail.anchor_subjects] * drawn[tail.positive_subjects])
            limit = allowed_votes(self.far, impostor_votes, "far")
            place = min(int(np.searchsorted(accepted, limit, side="right")), len(accepted) - 1)
            count = rejected[place]
            return float(1 - (votes[:count] * drawn[subjects[:count]]).sum() / genuine_votes)

        draws, native = self.draws, self.native
        replicates = [
            true_accepts(drawn.astype(np.float64), impostor, genuine)
            for drawn, impostor, genuine in zip(draws.drawn, draws.impostor_votes, draws.genuine_votes, strict=True)
        ]
        value = true_accepts(np.ones(native.subjects), native.impostor_votes, native.genuine_votes)
        return value, np.array(replicates)


@dataclass(frozen=True, eq=False)
class _Tail:
    """The highest impostor scores of both kinds, falling: enough of each for any mixture."""

    pairs: ImpostorTail
    positive_rows: Rows
    from_native: NDArray[np.bool_]

    @classmethod
    def of(cls, far: float, native: VerificationPairs, converted: VerificationPairs, scale: Scale) -> _Tail:
        votes = min(_TAIL * far + 100 / native.impostor_count, 0.9) * native.impostor_votes
        cuts = (
            float(largest_impostors(native, votes).scores[-1]),
            float(largest_impostors(converted, votes).scores[-1]) * scale[0] + scale[1],
        )
        parts = []
        for pairs, (factor, offset) in ((native, UNCALIBRATED), (converted, scale)):
            tail, rows = impostors_above(pairs, float(np.nextafter((min(cuts) - offset) / factor, -np.inf)))
            parts.append(
                (tail.scores * factor + offset, tail.anchor_subjects, tail.positive_subjects, tail.votes, rows)
            )
        scores, anchors, positives, shares, rows = (np.concatenate(each) for each in zip(*parts, strict=True))
        from_native = np.arange(len(scores)) < len(parts[0][0])
        order = np.argsort(-scores, kind="stable")
        pairs_tail = ImpostorTail(anchors[order], positives[order], scores[order], shares[order])
        return cls(pairs_tail, rows[order], from_native[order])

    def select(self, is_native: NDArray[np.bool_]) -> ImpostorTail:
        """Return the tail of a gallery whose rows (n,) are native where the mask says so."""
        return self.pairs.select(is_native[self.positive_rows] == self.from_native)


def _choose_scale(people: _People, backlog: Backlog, turns: dict[str, Turns], steps: int) -> Scale:
    """Return the calibration of converted scores if it helps the random orders, else none."""
    if backlog.held_out is None:
        return UNCALIBRATED
    calibration = backlog.held_out.calibrate()
    draws = {name: turns[name] for name in draw_names()}
    curves = (_random(people.measure(scale, draws, steps)) for scale in (calibration, UNCALIBRATED))
    return choose_scale(calibration, *curves)


def _random(curves: dict[str, Replicated]) -> Replicated:
    return Replicated.mean_of([curves[name] for name in draw_names()])
