"""Chains of aligners: composing them into one, measuring them, and comparing old versions with each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embcompat.aligners import Aligner, load_aligner, unweight
from embcompat.aligners.chain import chain_aligners
from embcompat.artifact import CHANCE, TEXT_AWARE, Artifact
from embcompat.chains.graph import path
from embcompat.embeddings import Embeddings, PairedEmbeddings
from embcompat.errors import InputError
from embcompat.evaluation.bootstrap import bootstrap_difference, bootstrap_mean, bootstrap_ratio
from embcompat.evaluation.chance import is_at_chance
from embcompat.evaluation.retrieval.metrics import metric_per_query
from embcompat.evaluation.retrieval.qrels import Qrels, Relevance, match_qrels
from embcompat.evaluation.retrieval.ranks import ScoreTerm, rank_relevant
from embcompat.evaluation.similarity import pairwise_scores
from embcompat.export import convert_unweighted, save_artifact
from embcompat.registry import Registry
from embcompat.results import Estimate
from embcompat.runtime import OnnxAligner
from embcompat.spaces import SpaceVersion, require_space

_PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class PathReport:
    """A chain beside the direct aligner, on pairs that neither was fitted on.

    Attributes:
        metric: The measured metric: how well a converted vector finds its own item among the target vectors.
        pairs: Number of pairs.
        chain: The metric of the chain.
        direct: The metric of the direct aligner.
        difference: chain − direct, paired.
        ratio: chain / direct, paired; None when the direct aligner scores 0.
    """

    metric: str
    pairs: int
    chain: Estimate
    direct: Estimate
    difference: Estimate
    ratio: Estimate | None

    def to_dict(self) -> dict[str, object]:
        """Return the figures by name, as JSON."""
        figures = {"chain": self.chain, "direct": self.direct, "difference": self.difference, "ratio": self.ratio}
        fields = {name: None if figure is None else figure.to_dict() for name, figure in figures.items()}
        return {"metric": self.metric, "pairs": self.pairs, **fields}


def convert_through(steps: Sequence[Artifact], embeddings: Embeddings) -> Embeddings:
    """Convert embeddings through artifacts, one after the other; each is checked against the space it reads.

    A reweighted step is used without its reweighting unless it is the last: the next step was fitted on vectors as the
    middle model makes them. Texts travel with the vectors, so any step may read them.

    Raises:
        SpaceMismatchError: If a step reads another space than it is given.
        InputError: If a step reads texts and the embeddings have none.
    """
    for step in steps[:-1]:
        embeddings = convert_unweighted(OnnxAligner(step), embeddings)
    return OnnxAligner(steps[-1]).convert(embeddings) if steps else embeddings


def compose(steps: Sequence[Artifact]) -> Aligner:
    """Make one aligner of several artifacts.

    Neighbouring affine steps become one matrix unless a normalization lies between them. Other steps stay steps of a
    chain, whose graph stacks the steps' graphs. A reweighted step loses its reweighting unless it is the last.
    Loading neural steps needs torch; serving the result does not.

    Raises:
        InputError: If there is no step, or one of several reads texts.
        SpaceMismatchError: If a step reads another space than the one before writes.
    """
    _check_joints(steps)
    readers = [step for step in steps if step.manifest.kind == TEXT_AWARE]
    if readers and len(steps) > 1:
        raise InputError(
            f"a composed chain reads vectors alone. {readers[0].id[:12]} reads texts too. Convert step by step with "
            "convert_through."
        )
    *first, last = [load_aligner(step) for step in steps]
    return chain_aligners([*map(unweight, first), last])


def save_composed(steps: Sequence[Artifact], destination: str | Path, *, overwrite: bool = False) -> Artifact:
    """Compose artifacts and save the result as an artifact.

    The artifact lists the pairs of all steps; a pair that any step was fitted on counts as fitted, so that no
    evaluation uses it. It has no metrics, because the metrics of a chain do not follow from those of its steps. A chain
    with a step at chance level is marked as that step is.

    Raises:
        InputError: If there is no step, one of several reads texts, or the destination is taken.
        SpaceMismatchError: If a step reads another space than the one before writes.
    """
    aligner = compose(steps)
    marks = [each.manifest.calibration[CHANCE] for each in steps if is_at_chance(each)]
    part_of = {item: part for part in reversed(_PARTS) for step in steps for item in step.pair_ids(part)}
    return save_artifact(
        aligner,
        destination,
        source=steps[0].source,
        target=steps[-1].target,
        part_of=part_of or None,
        calibration={CHANCE: marks[0]} if marks else None,
        overwrite=overwrite,
    )


def evaluate_path(
    steps: Sequence[Artifact],
    direct: Artifact,
    pairs: PairedEmbeddings,
    *,
    metric: str = "mrr",
    seed: int = 0,
) -> PathReport:
    """Measure a chain against the direct aligner between the same spaces.

    Every source vector is converted both ways and looks for its own item among the target vectors of all pairs.
    Pairs that any of the aligners was fitted or chosen on are left out.

    Args:
        steps: The artifacts of the chain, in the order of use.
        direct: The artifact of the direct aligner.
        pairs: The same items in the chain's first and last space.
        metric: As in `embcompat.evaluation.retrieval.metrics.metric_per_query`.
        seed: Seed of the bootstrap.

    Raises:
        InputError: If there is no step, or no pair is held-out.
        SpaceMismatchError: If a space does not fit.
        UnknownNameError: If there is no such metric.
    """
    _check_joints(steps)
    require_space(direct.source, steps[0].source, what="What the direct aligner reads")
    require_space(direct.target, steps[-1].target, what="What the direct aligner writes")
    require_space(pairs.target.space, direct.target, what="The pairs' target")
    fitted = set().union(*(each.pair_ids("train", "validation") for each in (*steps, direct)))
    held_out = pairs.select(np.array([item not in fitted for item in pairs.ids.tolist()], dtype=bool))
    if len(held_out) == 0:
        raise InputError(f"pairs must hold items that no aligner was fitted on. Got {len(pairs)}, all fitted on.")
    relevance = match_qrels(Qrels.one_each(held_out.ids.tolist()), held_out.ids, held_out.ids, exclude_self=False)
    chain, single = (_values(way, held_out, relevance, metric) for way in (steps, [direct]))
    return PathReport(
        metric,
        len(held_out),
        chain=bootstrap_mean(chain, seed=seed),
        direct=bootstrap_mean(single, seed=seed),
        difference=bootstrap_difference(chain, single, seed=seed),
        ratio=bootstrap_ratio(chain, single, seed=seed) if single.any() else None,
    )


def scores_via(
    registry: Registry, queries: Embeddings, gallery: Embeddings, *, via: str | SpaceVersion
) -> NDArray[np.float32]:
    """Compare vectors of two spaces after both are aligned to a third.

    Source: Vieira-e-Silva et al. (FC-Aligner), eq. 2: dist(A_km(e_k), A_lm(e_l)).

    Args:
        registry: Where the aligners are; fetched into the user's cache.
        queries: Vectors of one space.
        gallery: Vectors of another, or of the same.
        via: The third space, as in `path`. Vectors that are already in it stay as they are.

    Returns:
        Scores (q, g) in the third space, larger is closer.

    Raises:
        RegistryError: If no measured path leads there from one of the spaces.
        SpaceMismatchError: If a space differs from the registered one, the fingerprint included.
    """
    sides = []
    for side in (queries, gallery):
        route = path(registry, side.space, via)
        sides.append(convert_through([registry.get(edge.aligner) for edge in route.edges], side))
    return pairwise_scores(sides[0].vectors, sides[1].vectors, sides[0].space.similarity)


def _check_joints(steps: Sequence[Artifact]) -> None:
    if not steps:
        raise InputError("a chain needs at least one artifact. Got none.")
    for first, second in pairwise(steps):
        require_space(first.target, second.source, what=f"The target of {first.id[:12]}")


def _values(
    steps: Sequence[Artifact], pairs: PairedEmbeddings, relevance: Relevance, metric: str
) -> NDArray[np.float64]:
    converted = convert_through(steps, pairs.source)
    term = ScoreTerm(converted.vectors, pairs.target.vectors, converted.space.similarity)
    return metric_per_query(metric, rank_relevant([term], relevance)[0], relevance)
