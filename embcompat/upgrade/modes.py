"""Measure the modes that re-embed a part of the gallery: lazily, or some rows at once."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from embcompat.backfill.lazy.backfill import DEFAULT_DEPTH
from embcompat.backfill.lazy.replay import LazyCurve, replay_lazy
from embcompat.embeddings import Embeddings
from embcompat.evaluation.bootstrap import bootstrap_difference
from embcompat.evaluation.retrieval.evaluate import held_out_relevance
from embcompat.evaluation.retrieval.lines import Lines, Sides, rank_lines
from embcompat.evaluation.retrieval.metrics import metric_per_query
from embcompat.evaluation.retrieval.qrels import Qrels, Relevance, match_qrels
from embcompat.results import Estimate, Line, Mode, Model, Option
from embcompat.serving import DEFAULT_WEIGHT
from embcompat.upgrade.decision.options import Part, option_from

FRACTIONS = (0.05, 0.1, 0.2, 0.5)
"""Shares of the gallery that are native, fitted items included, in the modes that re-embed some rows at once [ours]."""

WEIGHED_FRACTION = 0.1
"""Share of the gallery that is native where weighted queries are compared with plain ones [ours]."""

MAX_SERVED = 500
"""Most held-out queries that are served by the lazy backfill; if there are more, a random sample of this size is
[ours]."""

LAZY_DEPTHS = (10, 20)
"""Depths of a lazy backfill that are measured beside the usual one, with only the new model alive [ours]."""

_SEARCHES: tuple[tuple[Line, float | None, tuple[Model, ...]], ...] = (
    ("converted", None, ("new",)),
    ("fused", DEFAULT_WEIGHT, ("old", "new")),
)
_Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MeasuredModes:
    """Modes that re-embed a part, on held-out queries.

    Attributes:
        options: The modes, as `embcompat.upgrade.decide` takes them.
        curves: The lazy backfills in the whole gallery: over a search of the target side and over a fused one, and over
            the target side at smaller depths.
    """

    options: tuple[Option, ...]
    curves: tuple[LazyCurve, ...]

    def to_dict(self) -> dict[str, JsonValue]:
        """Return options and curves as JSON."""
        return {
            "options": [option.to_dict() for option in self.options],
            "lazy_backfill": [curve.to_dict() for curve in self.curves],
        }


@dataclass(frozen=True, eq=False)
class _Gallery:
    """Sides and judgements, the rows that were fitted, and the others in the order in which they are re-embedded."""

    sides: Sides
    relevance: Relevance
    fitted: NDArray[np.bool_]
    order: NDArray[np.intp]


def measure_modes(
    sides: Sides, qrels: Qrels, fitted_ids: Collection[str], *, metric: str, exclude_self: bool = False, seed: int
) -> MeasuredModes:
    """Measure lazy backfill, and re-embedding 5, 10, 20 and 50 % in random order.

    As for the lines of a retrieval report, each mode is measured in the whole gallery, fitted items native, and in the
    gallery without them; the less favourable figures count. The fused weight is fixed, so nothing is chosen on the
    queries. `LazyCurve` describes how lazy backfill is judged. Native rows stand among converted ones here, so a
    reweighted aligner is measured without its reweighting (`Sides.mixable`).

    Args:
        sides: Queries and gallery under both models, and the gallery as converted.
        qrels: Which items are relevant to which queries; those queries count that count in a retrieval report.
        fitted_ids: Items that were fitted.
        metric: What to measure.
        exclude_self: Whether the queries are items of the gallery and must not find themselves.
        seed: Seed of the order of rows and queries, and of the bootstrap.
    """
    whole = _gallery_of(sides.mixed, qrels, fitted_ids, exclude_self=exclude_self, seed=seed)
    galleries = [whole, _without_fitted(whole)] if whole.fitted.any() else [whole]
    options = _lazy_options(galleries, metric, seed)
    curves = tuple(curve for _, curve in options)
    return MeasuredModes((*(option for option, _ in options), *_part_options(galleries, metric, seed)), curves)


def measure_weighing(
    plain: Sides,
    weighted: Sides,
    qrels: Qrels,
    fitted_ids: Collection[str],
    *,
    metric: str,
    exclude_self: bool = False,
    seed: int,
) -> tuple[float, Estimate]:
    """Measure what weighted queries gain over plain ones in a gallery of which a part is native, chosen at random.

    Args:
        plain: As in `measure_modes`.
        weighted: The same sides with weighted queries.
        qrels: As in `measure_modes`.
        fitted_ids: Likewise; they are native.
        metric: Likewise.
        exclude_self: Likewise.
        seed: Likewise.

    Returns:
        The share of native rows, `WEIGHED_FRACTION` or that of the fitted items if it is larger; and the difference.
    """
    galleries = [
        _gallery_of(sides.mixed, qrels, fitted_ids, exclude_self=exclude_self, seed=seed) for sides in (weighted, plain)
    ]
    native = galleries[0].fitted.copy()
    native[galleries[0].order[: max(0, round(WEIGHED_FRACTION * len(native)) - int(native.sum()))]] = True
    values = [
        _values(_lines(gallery, "converted", native=native), (), gallery.relevance, metric)["converted"]
        for gallery in galleries
    ]
    return float(native.mean()), bootstrap_difference(*values, seed=seed)


def _gallery_of(sides: Sides, qrels: Qrels, fitted_ids: Collection[str], *, exclude_self: bool, seed: int) -> _Gallery:
    fitted = sides.native_rows(fitted_ids)
    judged = match_qrels(qrels, sides.old_queries.ids, sides.old_gallery.ids, exclude_self=exclude_self)
    order = np.random.default_rng(seed).permutation(np.flatnonzero(~fitted))
    return _Gallery(sides, held_out_relevance(judged, fitted), fitted, order)


def _lazy_options(galleries: list[_Gallery], metric: str, seed: int) -> list[tuple[Option, LazyCurve]]:
    options = []
    items_of_reindex = int(np.count_nonzero(~galleries[0].fitted))
    sample = np.random.default_rng(seed).permutation(len(galleries[0].relevance)) < MAX_SERVED
    searches = [(weight, needs, DEFAULT_DEPTH) for _, weight, needs in _SEARCHES]
    searches += [(None, ("new",), depth) for depth in LAZY_DEPTHS]
    for weight, needs, depth in searches:
        parts: list[Part] = []
        cold: list[Part] = []
        curves = []
        for gallery in galleries:
            relevance = gallery.relevance.select(sample)
            curve = replay_lazy(
                gallery.sides, relevance, gallery.fitted, metric=metric, depth=depth, weight=weight, seed=seed
            )
            today = _values(_lines(gallery, "status_quo"), (), relevance, metric)["status_quo"]
            parts.append((curve.values, today, curve.reindex))
            cold.append((curve.cold, today, curve.reindex))
            curves.append(curve)
        items = int(curves[0].embedded[-1])
        share = items / items_of_reindex
        option = option_from(
            "lazy_backfill", parts, needs=needs, depth=depth, items=items, share_of_reindex=share, cold=cold, seed=seed
        )
        options.append((option, curves[0]))
    return options


def _part_options(galleries: list[_Gallery], metric: str, seed: int) -> list[Option]:
    mode: Mode = "backfill"
    base = [
        _values(_lines(gallery, "status_quo", "full_reindex"), (), gallery.relevance, metric) for gallery in galleries
    ]
    count, fitted = len(galleries[0].fitted), int(galleries[0].fitted.sum())
    options = []
    for fraction in FRACTIONS:
        items = round(fraction * count) - fitted
        if items <= 0:
            continue
        measured = []
        for gallery in galleries:
            native = gallery.fitted.copy()
            native[gallery.order[:items]] = True
            lines = _lines(gallery, "status_quo", "converted", native=native)
            measured.append(_values(lines, (DEFAULT_WEIGHT,), gallery.relevance, metric))
        for line, _, needs in _SEARCHES:
            parts = [
                (values[line], ends["status_quo"], ends["full_reindex"])
                for values, ends in zip(measured, base, strict=True)
            ]
            share = items / (count - fitted)
            options.append(
                option_from(mode, parts, needs=needs, fraction=fraction, items=items, share_of_reindex=share, seed=seed)
            )
    return options


def _lines(gallery: _Gallery, *names: Line, native: NDArray[np.bool_] | None = None) -> Lines:
    lines = gallery.sides.lines(gallery.fitted if native is None else native)
    return {name: lines[name] for name in names}


def _values(lines: Lines, weights: tuple[float, ...], relevance: Relevance, metric: str) -> dict[Line, _Values]:
    ranks, _ = rank_lines(lines, weights, relevance, metric, seed=0)
    return {line: metric_per_query(metric, places[-1], relevance) for line, places in ranks.items()}


def _without_fitted(gallery: _Gallery) -> _Gallery:
    """Leave the fitted items out of a gallery; no relevant item is among them."""
    others = np.flatnonzero(~gallery.fitted)
    row_of = np.cumsum(~gallery.fitted) - 1
    sides, relevance = gallery.sides, gallery.relevance
    numbers, rows = relevance.left_out
    there = ~gallery.fitted[rows]

    def take(embeddings: Embeddings) -> Embeddings:
        return embeddings.select(others)

    return _Gallery(
        Sides(
            sides.old_queries,
            sides.new_queries,
            take(sides.old_gallery),
            take(sides.new_gallery),
            take(sides.converted),
            weighted_queries=sides.weighted_queries,
        ),
        Relevance(
            relevance.queries,
            relevance.offsets,
            row_of[relevance.rows],
            relevance.gains,
            (numbers[there], row_of[rows[there]]),
        ),
        np.zeros(len(others), dtype=bool),
        row_of[gallery.order],
    )
