"""Quality against cost, for every mode that was measured."""

from __future__ import annotations

from collections.abc import Sequence

from embcompat.results import BudgetPoint, Option, RetrievalReport, Workload
from embcompat.upgrade.decision.options import measured_options


def weigh_modes(report: RetrievalReport, options: Sequence[Option], workload: Workload) -> tuple[BudgetPoint, ...]:
    """Return cost and quality of every mode, with intervals, the cheapest first.

    An aligner costs its pairs, their pieces and its table of words, however large the gallery is; a mode that re-embeds
    items costs these in addition.

    Args:
        report: The lines of a search on held-out queries, with judgements.
        options: The modes that re-embed a part of the gallery.
        workload: What the new model embeds.
    """
    points = []
    for option in [*measured_options(report), *options]:
        share = _share(option, report, workload)
        points.append(_point(option, share, workload))
        if option.cold is not None and option.depth is not None:
            first = workload.share + min(option.depth / report.gallery_size, 1.0)  # what one query embeds at most
            figures = {"difference": option.cold.difference, "retention": option.cold.retention}
            points.append(_point(option.model_copy(update=figures), first, workload, cold=True))
    return tuple(sorted(points, key=lambda point: point.share_of_reindex))


def _share(option: Option, report: RetrievalReport, workload: Workload) -> float:
    """Return all that a mode embeds as a share of a full reindex."""
    if option.mode in ("reindex", "swap"):
        return float(option.mode == "reindex")
    return workload.share + (option.items or 0) / report.gallery_size


def _point(option: Option, share: float, workload: Workload, *, cold: bool = False) -> BudgetPoint:
    return BudgetPoint(
        mode=option.mode,
        needs=option.needs,
        depth=option.depth,
        cold=cold,
        fraction=option.fraction,
        share_of_reindex=share,
        seconds=workload.seconds(share),
        difference=option.difference,
        retention=option.retention,
    )
