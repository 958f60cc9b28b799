"""One upgrade, evaluated: everything that was measured, and the decision taken from it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import JsonValue

from embcompat.embeddings import Embeddings
from embcompat.errors import InputError, UnknownNameError
from embcompat.evaluation.retrieval.hybrid import Run
from embcompat.evaluation.retrieval.qrels import Qrels
from embcompat.evaluation.verification import evaluate_verification
from embcompat.evaluation.verification.report import Progress
from embcompat.results import (
    CONVERTING_MODES,
    SCHEMA_VERSION,
    BudgetPoint,
    Check,
    Decision,
    HybridReport,
    Judge,
    Mode,
    Model,
    RetrievalReport,
    TextReport,
    VerificationReport,
    Workload,
)
from embcompat.similarities import Weight
from embcompat.upgrade.cases import build_search_case, join_galleries, unseen_subjects
from embcompat.upgrade.cost.budget import weigh_modes
from embcompat.upgrade.cost.workload import count_workload
from embcompat.upgrade.decision.checks import check_verification
from embcompat.upgrade.decision.decide import MOST_EMBEDDED, QUALITY_FLOOR
from embcompat.upgrade.decision.reasons import aligner_cost
from embcompat.upgrade.maps import OnnxMaps, Upgrade
from embcompat.upgrade.modes import MeasuredModes
from embcompat.upgrade.search import Terms, judge_search
from embcompat.upgrade.verification import decide_verification, verification_warnings

Task = Literal["retrieval", "verification"]
TASKS: tuple[Task, ...] = ("retrieval", "verification")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Everything that was measured of one upgrade, and the decision taken from it.

    Attributes:
        task: What was judged: ``retrieval`` or ``verification``.
        artifact: Id of the artifact; None for an aligner that was not saved.
        spaces: Ids of the old space, and of the new one in which everything was compared.
        decision: What to do, and why.
        warnings: What a reader must know before the figures.
        checks: The evidence behind the verdict.
        report: The figures: the lines of a search, or the scenarios of a verification.
        relevance: Where the judgements come from (retrieval): ``qrels``, ``labels`` or ``new_model_neighbours``.
        modes: The modes that re-embed a part of the gallery (retrieval).
        hybrid: The lines beside a lexical run (retrieval).
        workload: What the new model embeds (retrieval).
        texts: What the texts add to the vectors, and what they cost, where the aligner reads them (retrieval).
    """

    task: Task
    artifact: str | None
    spaces: tuple[str, str]
    decision: Decision
    warnings: tuple[str, ...]
    checks: tuple[Check, ...]
    report: RetrievalReport | VerificationReport
    relevance: Judge | None = None
    modes: MeasuredModes | None = None
    hybrid: HybridReport | None = None
    workload: Workload | None = None
    texts: TextReport | None = None

    def __repr__(self) -> str:
        return f"Evaluation({self.task!r}, {' -> '.join(self.spaces)!r}, decision={self.decision.mode!r})"

    @property
    def query_ids(self) -> tuple[str, ...]:
        """Ids of the held-out queries; none for a verification."""
        return self.report.query_ids if isinstance(self.report, RetrievalReport) else ()

    @property
    def budget(self) -> tuple[BudgetPoint, ...]:
        """Quality against cost for every mode that was measured; empty without judged queries."""
        if not isinstance(self.report, RetrievalReport) or self.workload is None or self.decision.mode == "unjudged":
            return ()
        return weigh_modes(self.report, () if self.modes is None else self.modes.options, self.workload)

    def to_dict(self) -> dict[str, JsonValue]:
        """Return everything as JSON; the kind is the task."""
        result: dict[str, JsonValue] = {
            "schema_version": SCHEMA_VERSION,
            "kind": self.task,
            "artifact": self.artifact,
            "old_space": self.spaces[0],
            "new_space": self.spaces[1],
        }
        if self.relevance is not None:
            result["relevance"] = self.relevance
        result |= self.report.to_dict()
        if self.modes is not None:
            result |= self.modes.to_dict()
        if self.hybrid is not None:
            result["hybrid"] = self.hybrid.to_dict()
        if self.workload is not None:
            result["workload"] = self.workload.to_dict()
            result["budget"] = [point.to_dict() for point in self.budget]
        if self.texts is not None:
            result["texts"] = self.texts.to_dict()
        result["checks"] = [check.to_dict() for check in self.checks]
        return {**result, "notes": list(self.warnings), **self.decision.to_dict()}


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
    artifact = None if galleries.artifact is None else galleries.artifact.id
    spaces = galleries.old.space.id, galleries.converted.space.id
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
        return Evaluation(
            task,
            artifact,
            spaces,
            decide_verification(report),
            verification_warnings(report),
            check_verification(report),
            report,
        )
    case = build_search_case(
        galleries, old_queries=old_queries, new_queries=new_queries, qrels=qrels, weigh=weigh_queries
    )
    terms = Terms(quality_floor, models_alive, seconds, seconds_per_item, price_per_item)
    search = judge_search(case, metric=metric, seed=seed, terms=terms, lexical_run=lexical_run)
    workload = count_workload(galleries, seconds_per_item=seconds_per_item)
    decision = search.decision
    if decision.mode in CONVERTING_MODES:
        cost = aligner_cost(workload, limit=MOST_EMBEDDED)
        decision = replace(decision, because=(*decision.because, *cost))
    return Evaluation(
        task,
        artifact,
        spaces,
        decision,
        search.warnings,
        search.checks,
        search.report,
        case.judge,
        search.modes,
        search.hybrid,
        workload,
        search.texts,
    )
