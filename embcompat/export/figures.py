"""Figures of a saved aligner on pairs that it was not fitted on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embcompat.aligners import Aligner, AlignerPair
from embcompat.artifact import Metric
from embcompat.embeddings import PairedEmbeddings, PairSplit, normalize_rows, transform_embeddings
from embcompat.evaluation.bootstrap import bootstrap_mean
from embcompat.evaluation.chance import ChanceTest, compare_with_chance
from embcompat.evaluation.retrieval.neighbours import neighbour_overlap


@dataclass(frozen=True)
class HeldOutFigures:
    """Figures of an aligner on the test part of a split.

    Attributes:
        metrics: ``mean_cosine`` of converted and native vectors, and ``retention``: the share of native neighbours that
            the converted items retrieve, where there are two items or more.
        chance: Whether the conversions belong to their own items.
    """

    metrics: tuple[Metric, ...]
    chance: ChanceTest


def held_out_part(split: PairSplit) -> PairedEmbeddings | None:
    """Return the test part of a split, the validation part where that is empty, or None where both are."""
    return next((part for part in (split.test, split.validation) if len(part)), None)


def measure_held_out(aligner: Aligner | AlignerPair, split: PairSplit) -> HeldOutFigures | None:
    """Measure an aligner on the test part of a split; None where that is empty.

    Args:
        aligner: The aligner that was fitted on the other parts; of a pair, both maps are used.
        split: The pairs.
    """
    held_out = split.test
    if not len(held_out):
        return None
    similarity, native = held_out.target.space.similarity, held_out.target.vectors
    if isinstance(aligner, AlignerPair):
        native = aligner.backward_map.transform(native)
        aligner = aligner.forward_map
    converted = transform_embeddings(aligner, held_out.source)
    figures = {"mean_cosine": np.einsum("ij,ij->i", normalize_rows(converted), normalize_rows(native))}
    if len(held_out) > 1:
        figures["retention"] = neighbour_overlap(native, converted, similarity)
    metrics = []
    for name, values in figures.items():
        mean = bootstrap_mean(values, seed=0)
        metrics.append(Metric(name=name, value=mean.value, low=mean.low, high=mean.high, count=len(values)))
    return HeldOutFigures(tuple(metrics), compare_with_chance(converted, native, similarity))
