"""False rates by group of people: what an average over everybody hides. numpy only.

False accepts are counted between two people of one group, since people who resemble each other are confused most.
Source: Grother, Ngan, Hanaoka, Face Recognition Vendor Test, Part 3: Demographic Effects, NIST IR 8280 (2019), section
3, which compares false match rates within demographic groups at one threshold for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embcompat.embeddings import Embeddings
from embcompat.errors import FileFormatError, InputError
from embcompat.evaluation.bootstrap import estimate_from
from embcompat.evaluation.verification.bootstrap import (
    REPLICATES,
    draw_subjects,
    far_estimate,
    replicate_far,
    replicate_frr,
)
from embcompat.evaluation.verification.counts import count_impostors
from embcompat.evaluation.verification.pairs import VerificationPairs
from embcompat.evaluation.verification.scenarios import subject_names
from embcompat.results import GroupRates, Scenario

GROUPED: tuple[Scenario, ...] = ("old", "S1", "S3")
"""Scenarios that are measured within groups: what a service compares before and after [ours]."""


def rates_by_group(
    pairs: Mapping[Scenario, VerificationPairs],
    groups: ArrayLike,
    thresholds: Mapping[Scenario, float],
    *,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> dict[str, dict[Scenario, GroupRates]]:
    """Measure false rates within each group of people: genuine pairs of its people, impostor pairs among its people.

    Args:
        pairs: Scenarios of the same people.
        groups: The group of each subject code, strings (subjects,); a subject with an empty string is in no group.
        thresholds: The score above which a pair matches, for everybody, in each scenario that is measured.
        seed: Seed of the subject bootstrap.
        replicates: How often the people of a group are resampled.

    Returns:
        Rates by group, in alphabetical order, and scenario. A group without two people, or in which nobody has two
        images, has none.

    Raises:
        InputError: If there is not one group for each subject, or everybody is in none.

    Example:
        >>> vectors, people = np.array([[0.0], [0.1], [5.0], [5.1], [5.2]]), [0, 0, 1, 1, 2]
        >>> pairs = VerificationPairs(vectors, vectors, people, people, "euclidean", same_items=True)
        >>> rates = rates_by_group({"S1": pairs}, ["a", "b", "b"], {"S1": -0.15})
        >>> rates["a"]["S1"].far is None, rates["b"]["S1"].frr.value, rates["b"]["S1"].far.value
        (True, 0.0, 0.5)
    """
    names = np.asarray(groups).astype(str)
    subjects = next(iter(pairs.values())).subjects
    if names.shape != (subjects,):
        raise InputError(f"there must be a group for each of {subjects} subjects. Got shape {names.shape}.")
    members = [name for name in np.unique(names).tolist() if name]
    if not members:
        raise InputError("at least one of the people compared must be in a group. Got none: check their names.")
    return {
        group: {
            name: _measure_group(pairs[name], names == group, threshold, seed=seed, replicates=replicates)
            for name, threshold in thresholds.items()
        }
        for group in members
    }


def read_groups(path: str | Path) -> dict[str, str]:
    """Read the group of each person: a person, a tab and a group on each line, or a table with ``id`` and ``label``.

    Raises:
        FileFormatError: If the file is missing or damaged, holds something else, or gives a person two groups.
    """
    from embcompat.files.reading.tables import read_labels

    groups = read_labels(Path(path))
    if isinstance(groups, dict):
        return groups
    raise FileFormatError(
        f"{path} must hold a person, a tab and a group on each line, or a table with the columns id (the person, as in "
        f"the labels) and label (the group). Got {groups[:1]}."
    )


def groups_of_subjects(
    groups: Mapping[str, str], embeddings: Embeddings, *, seed: int = 0, all_images: bool = False
) -> NDArray[np.str_]:
    """Return the group of each subject code of `scenario_pairs`, "" where a person has none.

    Args:
        groups: The group of each person, by label.
        embeddings: A labelled side of the scenarios.
        seed: As in `scenario_pairs`.
        all_images: As in `scenario_pairs`.

    Raises:
        InputError: If there are no labels, or none of the people has a group.
    """
    names = subject_names(embeddings, seed=seed, all_images=all_images)
    result = np.array([groups.get(name, "") for name in names.tolist()], dtype=str)
    if not (result != "").any():
        some = ", ".join(repr(name) for name in sorted(groups)[:3])
        raise InputError(
            f"groups must name the people that are compared, such as {names[0]!r}. Got {some or 'none'}. "
            "Name people as the labels do."
        )
    return result


def _measure_group(
    pairs: VerificationPairs, members: NDArray[np.bool_], threshold: float, *, seed: int, replicates: int
) -> GroupRates:
    left, right = (np.flatnonzero(members[codes]) for codes in (pairs.anchor_subjects, pairs.positive_subjects))
    codes = np.cumsum(members) - 1
    sides = codes[pairs.anchor_subjects[left]], codes[pairs.positive_subjects[right]]
    people = len(np.union1d(*sides))
    try:
        part = VerificationPairs(
            pairs.anchors[left],
            pairs.positives[right],
            *sides,
            pairs.similarity,
            same_items=pairs.same_items,
            weight=pairs.weight,
        )
    except InputError:  # no two people, or nobody with two images
        return GroupRates(people=people)
    draws = draw_subjects(part, seed=seed, replicates=replicates)
    thresholds = np.full(replicates, threshold)
    counts = count_impostors(part, [threshold], tails_above=[threshold], seed=seed)
    replicated = replicate_far(counts.tails[0], draws, thresholds)
    return GroupRates(
        people=people,
        frr=estimate_from(float(part.genuine.rejected(threshold)), replicate_frr(part.genuine, draws, thresholds)),
        far=far_estimate(float(counts.far[0]), replicated, part.impostor_votes),
        genuine_pairs=part.genuine_count,
        impostor_pairs=counts.total,
        false_acceptances=int(counts.above[0]),
    )
