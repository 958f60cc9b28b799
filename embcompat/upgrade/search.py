"""An upgrade judged by search: the lines, the modes, and the decision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from embcompat.evaluation.retrieval.evaluate import FUSED_WEIGHTS, evaluate_retrieval
from embcompat.evaluation.retrieval.hybrid import Run, evaluate_hybrid
from embcompat.evaluation.retrieval.qrels import describe_unmatched
from embcompat.results import (
    CONVERTING_MODES,
    MIN_QUERIES,
    MIXED_MODES,
    Decision,
    GalleryPart,
    HybridReport,
    Judge,
    RetrievalReport,
)
from embcompat.upgrade.cases import SearchCase, weigh_sides
from embcompat.upgrade.decision.checks import check_fidelity, check_search
from embcompat.upgrade.decision.decide import SWAP_FLOOR
from embcompat.upgrade.decision.reasons import percent, signed
from embcompat.upgrade.evaluation import Evaluation
from embcompat.upgrade.modes import MeasuredModes, measure_modes, measure_weighing
from embcompat.upgrade.texts import find_lexically, measure_texts

REPORTED_METRICS = ("recall@1", "recall@5", "recall@10", "recall@20", "recall@50", "recall@100", "mrr", "map")
"""Metrics that are reported beside the metric of the decision."""

MOST_LOST = 0.1
"""Share of the judged queries that fitted items may take away before a warning says so [ours]."""

_REWEIGHTED = (
    "The aligner is reweighted: native rows must not stand among its rows. So converting and fused scoring are "
    "measured with every row converted, the fitted items too; lazy and partial backfill without the reweighting."
)
_UNWEIGHT = (
    "Native rows will stand among converted ones, so convert the gallery without the reweighting: `embcompat unweight`."
)


_WEIGHTED_QUERIES = (
    "Weighted queries search the converted gallery, and no row is reweighted. A full reindex is searched by plain ones."
)
_WEIGH = (
    "Convert the gallery with what `embcompat unweight` makes of the artifact, and weigh each query with its query "
    "weights (embcompat.serving.WeightedSearch)."
)


def judge_search(
    case: SearchCase,
    *,
    metric: str,
    seed: int,
    decide: Callable[..., Decision],
    quality_floor: float,
    lexical_run: Run | None = None,
) -> Evaluation:
    """Measure the lines and the modes on held-out queries, and decide.

    Where relevance is the new model's own ranking, that model wins by construction: then the figures are its fidelity,
    nothing is compared with the status quo, and the decision is ``unjudged``.

    Args:
        case: Galleries, queries and judgements.
        metric: The metric of the decision.
        seed: Seed of folds, orders and bootstrap.
        decide: `decide` with its conditions; takes the report and the modes that were measured.
        quality_floor: Share of a full reindex that the mode must keep.
        lexical_run: As in `evaluate_upgrade`.
    """
    sides, fitted = case.sides, case.galleries.fitted
    artifact, spaces = case.galleries.names
    unmatched = None
    if case.judge == "qrels":
        unmatched = describe_unmatched(case.qrels, sides.old_queries.ids, sides.old_gallery.ids)
    report = evaluate_retrieval(
        **vars(sides),
        qrels=case.qrels,
        native_ids=fitted,
        metric=metric,
        metrics=REPORTED_METRICS,
        fused_weights=FUSED_WEIGHTS,
        exclude_self=case.own_queries,
        seed=seed,
    )
    if case.judge == "new_model_neighbours":
        report = _fidelity(report)
        decision, modes = _unjudged(report), MeasuredModes((), ())
        checks, notes = check_fidelity(report), tuple(report.notes)
        return Evaluation("retrieval", artifact, spaces, decision, notes, checks, report, case.judge, modes)
    modes = measure_modes(sides, case.qrels, fitted, metric=metric, exclude_self=case.own_queries, seed=seed)
    decision = decide(report, options=modes.options)
    checks = check_search(report, decision, options=modes.options, quality_floor=quality_floor)
    warnings = _warnings(report, case.judge)
    if sides.mixable is not None:
        warnings = (*warnings, _REWEIGHTED)
        if decision.mode in MIXED_MODES:
            decision = replace(decision, because=(*decision.because, _UNWEIGHT))
        if decision.mode in (*MIXED_MODES, "reindex"):
            decision = replace(decision, because=(*decision.because, *_weighing(case, metric, seed)))
    elif sides.weighted_queries is not None:
        warnings = (*warnings, _WEIGHTED_QUERIES)
        if decision.mode in CONVERTING_MODES:
            decision = replace(decision, because=(*decision.because, _WEIGH))
    if unmatched is not None:
        warnings = (*warnings, unmatched)
    aligner = case.galleries.text_aligner
    texts = None if aligner is None else measure_texts(case, aligner, metric=metric, seed=seed)
    run = find_lexically(case) if lexical_run is None else lexical_run
    hybrid = None if run is None else _hybrid(case, report, run, seed)
    if hybrid is not None and hybrid.missing_queries:
        gap = f"The lexical run lacks {hybrid.missing_queries} of {report.queries} held-out queries: their hybrid is"
        warnings = (*warnings, f"{gap} the search by vectors alone.")
    return Evaluation(
        "retrieval", artifact, spaces, decision, warnings, checks, report, case.judge, modes, hybrid, texts=texts
    )


def _weighing(case: SearchCase, metric: str, seed: int) -> tuple[str, ...]:
    """Say what weighted queries gain, where they surely gain something."""
    weighted = weigh_sides(case.sides, case.galleries)
    if weighted is None:
        return ()
    share, gain = measure_weighing(
        case.sides,
        weighted,
        case.qrels,
        case.galleries.fitted,
        metric=metric,
        exclude_self=case.own_queries,
        seed=seed,
    )
    if gain.low <= 0:
        return ()
    return (
        f"Where {percent(share)} of the rows are native, weighted queries gain {signed(gain)} of {metric} over plain "
        "ones. If your service can weigh its queries, measure every mode with --weigh-queries.",
    )


def _hybrid(case: SearchCase, report: RetrievalReport, run: Run, seed: int) -> HybridReport:
    """Measure each line beside a lexical run, on the queries of a report."""
    sides = case.sides
    native, relevance = case.held_out_relevance()
    lines = sides.lines(native)
    if report.fused_weight is not None:
        weight = report.fused_weight
        (new,), (old,) = lines["converted"], lines["status_quo"]
        lines["fused"] = [replace(new, weight=weight), replace(old, weight=1 - weight)]
    return evaluate_hybrid(lines, run, relevance, sides.old_queries, sides.old_gallery, metric=report.metric, seed=seed)


def _fidelity(report: RetrievalReport) -> RetrievalReport:
    """Take every comparison with the status quo out of a report."""

    def strip(part: GalleryPart) -> GalleryPart:
        return part.model_copy(update={"differences": {}})

    return report.model_copy(
        update={
            "gaps": {},
            "changes": None,
            "retention_by_size": tuple(strip(part) for part in report.retention_by_size),
            "unfitted": None if report.unfitted is None else strip(report.unfitted),
            "reasons": {**report.reasons, "gap": "nothing tells which model is better"},
        }
    )


def _unjudged(report: RetrievalReport) -> Decision:
    fidelity = report.retention
    figure = "" if fidelity is None else f": {percent(fidelity.value)} of {report.metric}"
    because = [
        "Relevant is what the new model itself ranks first, so these figures say how faithfully the converted gallery "
        f"follows the new model{figure}. They cannot say whether the new model is better than the old one.",
        "To get a verdict, pass queries and judgements: --old-queries, --new-queries and --qrels. "
        f"{MIN_QUERIES} judged queries are the minimum; a hundred show small differences.",
        "No judgements yet? `embcompat queries known-item` makes a proxy from titles, and --qrels accepts a click log.",
    ]
    unchanged = report.retentions.get("naive_swap")
    if unchanged is not None and unchanged.low >= SWAP_FLOOR:
        because.insert(
            1,
            "The new model searches the stored vectors with "
            f"{percent(unchanged.value)} fidelity as they are, so it may need no aligner.",
        )
    reason = "No verdict: nothing says which items answer a query, so nothing tells which model is better."
    return Decision("unjudged", reason, (), None, tuple(because))


def _warnings(report: RetrievalReport, judge: Judge) -> tuple[str, ...]:
    warnings = []
    if judge == "labels":
        warnings.append(
            "Judged by labels: an item is relevant when it has the query's label. The verdict holds only if that is "
            "what people search for; otherwise pass judged queries."
        )
    fitted = 0 if report.residual else report.in_sample_queries
    judged = report.queries + fitted
    if judge == "qrels" and fitted > MOST_LOST * judged:
        warnings.append(
            f"{fitted} of {judged} judged queries have a fitted item among their answers and cannot judge, so "
            f"{report.queries} are left. Fit on items that answer no query: `embcompat fit --keep-out QRELS`."
        )
    loss = None if report.loss is None else f"{report.loss}."
    return (*warnings, *(note for note in report.notes if note != loss))
