"""Pairs: the same items in two spaces, and how they are split without leaking a subject."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embcompat.embeddings.values import Embeddings
from embcompat.errors import InputError
from embcompat.spaces import require_space


@dataclass(frozen=True, eq=False)
class PairedEmbeddings:
    """The same items under a source and a target model, row by row.

    Attributes:
        source: Embeddings of the items in the source space.
        target: Embeddings of the same items, in the same order, in the target space.

    Raises:
        InputError: If ids, labels or texts differ in any row.
    """

    source: Embeddings
    target: Embeddings

    def __post_init__(self) -> None:
        for what in ("ids", "labels", "texts"):
            left, right = getattr(self.source, what), getattr(self.target, what)
            if left is None or right is None:
                continue
            if len(left) != len(right):
                raise InputError(
                    f"source and target must hold the same items. Got {len(left)} and {len(right)} rows. "
                    "pair_embeddings(source, target) joins them by id."
                )
            if (different := left != right).any():
                row = int(np.argmax(different))
                raise InputError(
                    f"source and target must have the same {what}, row by row. Row {row} has {left[row]!r} and "
                    f"{right[row]!r}. pair_embeddings(source, target) joins them by id."
                )

    def __len__(self) -> int:
        return len(self.source)

    def __repr__(self) -> str:
        return f"PairedEmbeddings(n={len(self)}, source={self.source.space.id!r}, target={self.target.space.id!r})"

    @property
    def ids(self) -> NDArray[np.object_]:
        """The n ids."""
        return self.source.ids

    @property
    def labels(self) -> NDArray[np.object_] | None:
        """The n labels of either side, or None."""
        return self.source.labels if self.source.labels is not None else self.target.labels

    @property
    def texts(self) -> NDArray[np.object_] | None:
        """The n texts of either side, or None."""
        return self.source.texts if self.source.texts is not None else self.target.texts

    def select(self, rows: ArrayLike) -> PairedEmbeddings:
        """Return the given rows (indices or a boolean mask), in that order."""
        return PairedEmbeddings(self.source.select(rows), self.target.select(rows))


@dataclass(frozen=True)
class PairSplit:
    """Pairs in three parts that share no item, and no subject where the pairs have labels.

    Attributes:
        train: What aligners are fitted on.
        validation: What options, weights and thresholds are chosen on.
        test: What figures are reported on; nothing is ever chosen here.
    """

    train: PairedEmbeddings
    validation: PairedEmbeddings
    test: PairedEmbeddings

    def parts(self) -> dict[str, PairedEmbeddings]:
        """Return the three parts by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


def pair_embeddings(source: Embeddings, target: Embeddings) -> PairedEmbeddings:
    """Join two sets of embeddings by id.

    Args:
        source: Embeddings in the source space.
        target: Embeddings in the target space.

    Returns:
        The items that both hold, in the order of ``source``.

    Raises:
        InputError: If they share no id, a shared item has two labels or two texts, or invented row numbers meet other
            rows.

    Example:
        >>> from embcompat.spaces import SpaceVersion
        >>> a = Embeddings([[1.0], [2.0]], ["x", "y"], SpaceVersion(name="a", version="1", dim=1, similarity="dot"))
        >>> b = Embeddings([[5.0], [6.0]], ["y", "z"], SpaceVersion(name="b", version="1", dim=1, similarity="dot"))
        >>> pair_embeddings(a, b).ids.tolist()
        ['y']
    """
    _require_comparable_ids(source, target)
    row_of = {identifier: row for row, identifier in enumerate(target.ids.tolist())}
    matches = [(row, row_of[identifier]) for row, identifier in enumerate(source.ids.tolist()) if identifier in row_of]
    if not matches:
        examples = [side.ids[0] if len(side) else "nothing" for side in (source, target)]
        raise InputError(
            f"source and target must share ids. Got {len(source)} and {len(target)} rows without a common id "
            f"(first ids: {examples[0]!r}, {examples[1]!r}). Embed the same items with both models, under the same ids."
        )
    rows = np.array(matches, dtype=np.intp)
    return PairedEmbeddings(source.select(rows[:, 0]), target.select(rows[:, 1]))


def _require_comparable_ids(source: Embeddings, target: Embeddings) -> None:
    """Refuse to join row numbers that were invented with anything but the same row numbers."""
    if not (source.row_numbers or target.row_numbers):
        return
    if len(source) == len(target) and np.array_equal(source.ids, target.ids):
        return
    sides = [
        f"{len(side)} rows whose ids are {'row numbers' if side.row_numbers else 'their own'} (first: {first})"
        for side in (source, target)
        for first in [repr(side.ids[0]) if len(side) else "none"]
    ]
    raise InputError(
        "ids that are only row numbers must stand for the same rows on both sides. Got "
        f"{sides[0]} and {sides[1]}. Give both sides ids: a column of ids, or a file of them (ids=…)."
    )


def stack_pairs(first: PairedEmbeddings, second: PairedEmbeddings) -> PairedEmbeddings:
    """Put the rows of two sets of pairs under each other; labels and texts are kept where both have them.

    Raises:
        InputError: If they share an id.
        SpaceMismatchError: If they are of other spaces.
    """
    sides = []
    for what in ("source", "target"):
        left, right = getattr(first, what), getattr(second, what)
        require_space(right.space, left.space, what=f"The {what} side of the second pairs")
        labels = None if left.labels is None or right.labels is None else np.concatenate([left.labels, right.labels])
        texts = None if left.texts is None or right.texts is None else np.concatenate([left.texts, right.texts])
        vectors = np.concatenate([left.vectors, right.vectors])
        sides.append(Embeddings(vectors, np.concatenate([left.ids, right.ids]), left.space, labels, texts))
    return PairedEmbeddings(*sides)


def split_pairs(pairs: PairedEmbeddings, *, validation: float = 0.175, test: float = 0.2, seed: int = 0) -> PairSplit:
    """Split pairs at random into train, validation and test.

    Where the pairs have labels the split is subject-disjoint: all rows of a label go to one part, so that a figure
    on the test part speaks of subjects that were never fitted. The parts' sizes are then as near as whole subjects
    allow. The validation default is the 17.5 % of FC-Aligner (Vieira-e-Silva et al.); splitting by subject, and the
    test default, are ours.

    Args:
        pairs: What to split.
        validation: Fraction of the rows for validation.
        test: Fraction of the rows for test; 0 when the evaluation uses other data.
        seed: Seed of the random order.

    Raises:
        InputError: If a fraction is out of range, or a part that was asked for would be empty.
    """
    if validation < 0 or test < 0 or validation + test >= 1:
        raise InputError(
            f"validation and test must be fractions that leave rows to train on. Got {validation} and {test}."
        )
    labels = pairs.labels
    units = pairs.ids if labels is None else labels
    _, unit_of = np.unique(units.astype(str), return_inverse=True)
    sizes = np.bincount(unit_of)
    order = np.random.default_rng(seed).permutation(len(sizes))
    ends = np.cumsum(sizes[order])
    # A unit goes to the part in which its middle falls, so that no part is systematically short.
    middles = (ends - sizes[order] / 2) / max(len(pairs), 1)
    part_of = np.empty(len(sizes), dtype=np.intp)
    part_of[order] = np.where(middles < test, 2, np.where(middles < test + validation, 1, 0))
    parts = [pairs.select(np.flatnonzero(part_of[unit_of] == part)) for part in range(3)]
    for name, part, fraction in zip(("train", "validation", "test"), parts, (1.0, validation, test), strict=True):
        if fraction > 0 and len(part) == 0:
            unit = "pairs" if labels is None else "subjects"
            raise InputError(
                f"{len(pairs)} pairs of {len(sizes)} {unit} are too few: the {name} part would be empty. "
                "Collect more pairs, or change the fractions."
            )
    return PairSplit(*parts)
