from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embcompat.embeddings import Embeddings, PairedEmbeddings, pair_embeddings, split_pairs, stack_pairs
from embcompat.errors import InputError, SpaceMismatchError
from embcompat.spaces import SpaceVersion
from embcompat.testing import make_pairs

OLD = SpaceVersion(name="old", version="1", dim=1, similarity="dot")
NEW = SpaceVersion(name="new", version="1", dim=1, similarity="dot")


def rows(space: SpaceVersion, ids: str, labels: str | None = None) -> Embeddings:
    return Embeddings(np.arange(len(ids))[:, None] * 1.0, list(ids), space, None if labels is None else list(labels))


def test_pairs_are_joined_by_id_in_the_order_of_the_source() -> None:
    pairs = pair_embeddings(rows(OLD, "abcd"), rows(NEW, "dxb"))
    assert pairs.ids.tolist() == ["b", "d"]
    assert pairs.source.vectors.ravel().tolist() == [1, 3]
    assert pairs.target.vectors.ravel().tolist() == [2, 0]


def test_labels_of_either_side_are_the_pairs_labels() -> None:
    assert pair_embeddings(rows(OLD, "ab"), rows(NEW, "ab", "xy")).labels.tolist() == ["x", "y"]  # type: ignore[union-attr]
    assert pair_embeddings(rows(OLD, "ab"), rows(NEW, "ab")).labels is None


def test_pairs_are_stacked() -> None:
    first, second = (pair_embeddings(rows(OLD, ids, ids), rows(NEW, ids)) for ids in ("ab", "cde"))
    stacked = stack_pairs(first, second)
    assert stacked.ids.tolist() == list("abcde")
    assert stacked.labels.tolist() == list("abcde")  # type: ignore[union-attr]
    assert stacked.target.vectors.ravel().tolist() == [0, 1, 0, 1, 2]
    with pytest.raises(InputError, match="unique"):
        stack_pairs(first, first)
    with pytest.raises(SpaceMismatchError):
        stack_pairs(first, pair_embeddings(rows(NEW, "xy"), rows(OLD, "xy")))


def test_messages() -> None:
    with pytest.raises(InputError, match=r"must share ids.*first ids: 'a', 'x'"):
        pair_embeddings(rows(OLD, "ab"), rows(NEW, "xy"))
    with pytest.raises(InputError, match="Row 1 has 'b' and 'c'"):
        PairedEmbeddings(rows(OLD, "ab"), rows(NEW, "ac"))
    with pytest.raises(InputError, match="Got 2 and 3 rows"):
        PairedEmbeddings(rows(OLD, "ab"), rows(NEW, "abc"))
    with pytest.raises(InputError, match="same labels.*Row 1"):
        pair_embeddings(rows(OLD, "ab", "xy"), rows(NEW, "ab", "xz"))


@given(st.integers(20, 200), st.integers(0, 5))
def test_a_split_is_a_partition(count: int, seed: int) -> None:
    split = split_pairs(make_pairs(count, source_dim=2, target_dim=2).pairs, seed=seed)
    ids = [set(part.ids.tolist()) for part in split.parts().values()]
    assert sum(map(len, ids)) == len(set().union(*ids)) == count
    assert len(split.test) == pytest.approx(0.2 * count, abs=1.5)
    assert len(split.validation) == pytest.approx(0.175 * count, abs=1.5)


@given(st.integers(8, 40), st.integers(0, 5))
def test_no_subject_is_in_two_parts(subjects: int, seed: int) -> None:
    split = split_pairs(make_pairs(200, source_dim=2, target_dim=2, subjects=subjects).pairs, seed=seed)
    labels = [set(part.labels.tolist()) for part in split.parts().values()]  # type: ignore[union-attr]
    assert sum(map(len, labels)) == len(set().union(*labels)) == subjects


def test_a_seed_decides_the_split() -> None:
    pairs = make_pairs(100, source_dim=2, target_dim=2).pairs
    first, same, other = (split_pairs(pairs, seed=seed).test.ids.tolist() for seed in (1, 1, 2))
    assert first == same
    assert first != other


def test_too_few_pairs_are_refused() -> None:
    pairs = make_pairs(2, source_dim=2, target_dim=2).pairs
    with pytest.raises(InputError, match="2 pairs of 2 pairs are too few: the .* part would be empty"):
        split_pairs(pairs)
    with pytest.raises(InputError, match="1 subjects"):
        split_pairs(make_pairs(50, source_dim=2, target_dim=2, subjects=1).pairs)
    with pytest.raises(InputError, match="fractions that leave rows"):
        split_pairs(pairs, validation=0.5, test=0.5)


def test_no_test_part_when_none_is_asked_for() -> None:
    split = split_pairs(make_pairs(50, source_dim=2, target_dim=2).pairs, test=0)
    assert len(split.test) == 0


def test_texts_of_either_side_are_the_pairs_texts_and_must_agree() -> None:
    space = SpaceVersion(name="toy", version="1", dim=1, similarity="dot")
    bare = Embeddings([[1.0], [2.0]], ["a", "b"], space)
    worded = Embeddings([[2.0], [1.0]], ["b", "a"], space, texts=["two", "one"])
    pairs = pair_embeddings(bare, worded)
    assert pairs.texts is not None
    assert pairs.texts.tolist() == ["one", "two"]
    assert pairs.select([1]).texts.tolist() == ["two"]
    assert PairedEmbeddings(bare, bare).texts is None
    other = Embeddings([[2.0], [1.0]], ["b", "a"], space, texts=["another", "one"])
    with pytest.raises(InputError, match="same texts, row by row. Row 0 has 'two' and 'another'"):
        pair_embeddings(worded, other)


def test_stacked_pairs_keep_texts_that_both_have() -> None:
    space = SpaceVersion(name="toy", version="1", dim=1, similarity="dot")
    first, second = (Embeddings([[1.0]], [name], space, texts=[f"text {name}"]) for name in "ab")
    stacked = stack_pairs(PairedEmbeddings(first, first), PairedEmbeddings(second, second))
    assert stacked.texts is not None
    assert stacked.texts.tolist() == ["text a", "text b"]
    bare = Embeddings([[1.0]], ["c"], space)
    assert stack_pairs(stacked, PairedEmbeddings(bare, bare)).texts is None
