"""The four verification scenarios of a model change, as pairs.

Source: Vieira-e-Silva et al., FC-Aligner, section 3.2: an anchor and a positive image of each test subject, embedded
by the new model or converted from the old one; all anchors against all positives.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embcompat.embeddings import Embeddings
from embcompat.errors import InputError
from embcompat.evaluation.verification.pairs import VerificationPairs
from embcompat.results import Scenario
from embcompat.similarities import Weight
from embcompat.spaces import require_space

SCENARIOS: dict[Scenario, str] = {
    "old": "old anchor, old positive: the status quo",
    "S1": "new anchor, new positive",
    "S2": "converted anchor, converted positive",
    "S3": "converted anchor, new positive",
    "S4": "new anchor, converted positive",
}


def scenario_pairs(
    old: Embeddings,
    new: Embeddings,
    converted: Embeddings,
    *,
    seed: int = 0,
    all_images: bool = False,
    weight: Weight = "person",
) -> dict[Scenario, VerificationPairs]:
    """Build the pairs of the status quo and of the four scenarios, all of the same rows.

    Args:
        old: As in `evaluate_verification`.
        new: As in `evaluate_verification`.
        converted: As in `evaluate_verification`.
        seed: Seed of the anchors and positives.
        all_images: As in `evaluate_verification`.
        weight: As in `evaluate_verification`.

    Raises:
        InputError: If the items differ, there are no labels, or fewer than two subjects have two rows.
        SpaceMismatchError: If ``converted`` is not in the new space.
    """
    subjects = _subjects(old, new, converted)
    require_space(converted.space, new.space, what="The converted embeddings")
    anchors, positives = (None, None) if all_images else anchor_rows(subjects, seed=seed)
    codes = subjects if anchors is None else np.unique(subjects[anchors], return_inverse=True)[1]
    sides: dict[Scenario, tuple[Embeddings, Embeddings]] = {
        "old": (old, old),
        "S1": (new, new),
        "S2": (converted, converted),
        "S3": (converted, new),
        "S4": (new, converted),
    }
    return {
        name: VerificationPairs(
            left.vectors if anchors is None else left.vectors[anchors],
            right.vectors if positives is None else right.vectors[positives],
            codes,
            codes,
            right.space.similarity,
            same_items=all_images,
            weight=weight,
        )
        for name, (left, right) in sides.items()
    }


def subject_names(embeddings: Embeddings, *, seed: int = 0, all_images: bool = False) -> NDArray[np.str_]:
    """Return the label of each subject code of `scenario_pairs`: array (subjects,).

    Args:
        embeddings: A labelled side of the scenarios.
        seed: As in `scenario_pairs`.
        all_images: As in `scenario_pairs`.

    Raises:
        InputError: If there are no labels, or fewer than two subjects have two rows.
    """
    codes = _subjects(embeddings)
    names = np.unique(np.asarray(embeddings.labels).astype(str))
    return names if all_images else names[codes[anchor_rows(codes, seed=seed)[0]]]


def anchor_rows(subjects: NDArray[np.intp], *, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Draw one anchor row and one other row, the positive, of each subject that has two or more.

    Args:
        subjects: Array (n,), subject codes.
        seed: Seed of the draw.

    Returns:
        Two arrays (subjects with two rows,), in the order of the codes.

    Raises:
        InputError: If fewer than two subjects have two rows.
    """
    shuffled = np.random.default_rng(seed).permutation(len(subjects))
    order = shuffled[np.argsort(subjects[shuffled], kind="stable")]
    codes, starts, counts = np.unique(subjects[order], return_index=True, return_counts=True)
    starts = starts[counts >= 2]
    if len(starts) < 2:
        raise InputError(
            "verification needs at least two subjects with two or more rows each. "
            f"Got {len(starts)} among {len(codes)} subjects and {len(subjects)} rows."
        )
    return order[starts], order[starts + 1]


def _subjects(*sides: Embeddings) -> NDArray[np.intp]:
    first = sides[0]
    if any(not np.array_equal(first.ids, side.ids) for side in sides[1:]):
        raise InputError(
            "old, new and converted must hold the same ids in the same order. Got others. "
            "Join them with pair_embeddings and convert the source of the pairs."
        )
    labels = next((side.labels for side in sides if side.labels is not None), None)
    if labels is None:
        raise InputError(
            "verification needs labels that name the subject of each row. Got none in old, new or converted."
        )
    if any(side.labels is not None and not np.array_equal(labels, side.labels) for side in sides):
        raise InputError("old, new and converted must agree on the labels. Got other labels for the same ids.")
    return np.unique(labels.astype(str), return_inverse=True)[1].astype(np.intp)
