"""Evaluate one upgrade: measure everything, and decide."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial

from embcompat.embeddings import Embeddings
from embcompat.errors import InputError, UnknownNameError
from embcompat.evaluation.retrieval.hybrid import Run
from embcompat.evaluation.retrieval.qrels import Qrels
from embcompat.evaluation.verification import evaluate_verification
from embcompat.evaluation.verification.report import Progress
from embcompat.results import CONVERTING_MODES, Mode, Model
from embcompat.similarities import Weight
from embcompat.upgrade.cases import build_search_case, join_galleries, unseen_subjects
from embcompat.upgrade.cost.workload import count_workload
from embcompat.upgrade.decision.checks import check_verification
from embcompat.upgrade.decision.decide import MOST_EMBEDDED, QUALITY_FLOOR, decide
from embcompat.upgrade.decision.reasons import aligner_cost
from embcompat.upgrade.evaluation import Evaluation, Task
from embcompat.upgrade.maps import OnnxMaps, Upgrade
from embcompat.upgrade.search import judge_search
from embcompat.upgrade.verification import decide_verification, verification_warnings

TASKS: tuple[Task, ...] = ("retrieval", "verification")


def evaluate_upgrade(
    upgrade: Upgrade,
    *,
    old_gallery: Embeddings,
    new_gallery: Embeddings,
    old_queries: Embeddings | None = None,
    new_queries: Embeddings | None = None,
    qrels: Qrels | None = None,
    lexical_run: Run | None = None,
    task: Task = "retrieval",
    fitted_ids: Collection[str] | None = None,
    metric: str = "ndcg@10",
    frr: float = 0.05,
    all_images: bool = False,
    weight: Weight = "person",
    groups: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    quality_floor: float = QUALITY_FLOOR,
    models_alive: Collection[Model] = ("old", "new"),
    seconds: Mapping[Mode, float] | None = None,
    seconds_per_item: float | None = None,
    price_per_item: float | None = None,
    weigh_queries: bool = False,
    seed: int = 0,
) -> Evaluation:
    """Measure what an upgrade is worth, on data that the aligner was not fitted on, and decide what to do.

    Retrieval: the five lines, lazy backfill and partial backfill are measured on held-out queries, against what is in
    service today and against a full reindex. Without queries, gallery items that were not fitted are the queries;
    without judgements, items with the query's label are relevant; without labels there is no verdict, only the
    fidelity to the new model. Verification: the four scenarios are measured on subjects that were not fitted.

    Args:
        upgrade: The maps: the path of an artifact or of a pair of them, an `Artifact`, an `OnnxAligner`, or an aligner
            or `AlignerPair` that was not saved.
        old_gallery: Items under the old model; labels are the subjects of a verification.
        new_gallery: The same items under the new model. The galleries are joined by id.
        old_queries: Queries under the old model (retrieval).
        new_queries: The same queries under the new model.
        qrels: Which items are relevant to which queries (retrieval).
        lexical_run: Scores of a lexical search (BM25) for the same queries: the hybrid of each line is measured beside
            the pure one (retrieval, with judgements). The decision rests on the pure lines. When None, BM25 of the
            texts where queries and gallery have some.
        task: ``retrieval`` or ``verification``.
        fitted_ids: Items that the aligner was fitted or chosen on, for an aligner that was not saved; () where none of
            them is in the gallery. An artifact records its own.
        metric: The metric of the decision (retrieval); `metric_per_query` lists the names.
        frr: False rejection rate at which thresholds are set (verification).
        all_images: Whether to compare every image, not two of each subject (verification).
        weight: What has one vote (verification); see `evaluate_verification`.
        groups: The group of each person, by label (verification); see `evaluate_verification`.
        progress: Shows the progress of a verification.
        quality_floor: As in `decide` (retrieval).
        models_alive: As in `decide` (retrieval).
        seconds: As in `decide` (retrieval).
        seconds_per_item: As in `decide` (retrieval).
        price_per_item: As in `decide` (retrieval).
        weigh_queries: Whether weighted queries search the converted gallery, and its rows are not reweighted
            (retrieval; `embcompat.serving.WeightedSearch`). A full reindex is still searched by plain queries.
        seed: Seed of folds, orders, anchors and bootstrap.

    Raises:
        InputError: If the sides do not fit together, or nothing held-out is left to judge on.
        SpaceMismatchError: If a gallery is in another space than the artifact reads or writes.
        UnknownNameError: If the task or the metric is not known.
    """
    if task not in TASKS:
        raise UnknownNameError("task", task, TASKS)
    galleries = join_galleries(upgrade, old_gallery, new_gallery, fitted_ids=fitted_ids)
    if task == "verification":
        if weigh_queries or any(each is not None for each in (old_queries, new_queries, qrels, lexical_run)):
            raise InputError(
                "verification compares the rows of the gallery: it takes no queries, weighted or not, qrels or run."
            )
        report = evaluate_verification(
            *unseen_subjects(galleries),
            cohort=galleries.maps.forward.cohort() if isinstance(galleries.maps, OnnxMaps) else None,
            frr=frr,
            all_images=all_images,
            weight=weight,
            groups=groups,
            progress=progress,
            seed=seed,
        )
        decision, warnings = decide_verification(report), verification_warnings(report)
        return Evaluation(task, *galleries.names, decision, warnings, check_verification(report), report)
    case = build_search_case(
        galleries, old_queries=old_queries, new_queries=new_queries, qrels=qrels, weigh=weigh_queries
    )
    decide_with_costs = partial(
        decide,
        quality_floor=quality_floor,
        models_alive=models_alive,
        seconds=seconds,
        seconds_per_item=seconds_per_item,
        price_per_item=price_per_item,
    )
    evaluation = judge_search(
        case,
        metric=metric,
        seed=seed,
        decide=decide_with_costs,
        quality_floor=quality_floor,
        lexical_run=lexical_run,
    )
    workload = count_workload(galleries, seconds_per_item=seconds_per_item)
    decision = evaluation.decision
    if decision.mode in CONVERTING_MODES:
        cost = aligner_cost(workload, limit=MOST_EMBEDDED)
        decision = replace(decision, because=(*decision.because, *cost))
    return replace(evaluation, decision=decision, workload=workload)
