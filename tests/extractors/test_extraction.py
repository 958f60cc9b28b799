from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from embcompat.errors import ExtractionError, InputError
from embcompat.extractors import (
    Extractor,
    SkippedItem,
    extract_embeddings,
)
from embcompat.spaces import SpaceVersion
from embcompat.testing.extractors import check_extractor

SPACE = SpaceVersion(name="letters", version="1", dim=3, similarity="euclidean", fingerprint={"letters": "abc"})


class Letters:
    """Counts of a, b and c; refuses whatever is not a string."""

    space = SPACE
    chunk_size = 4

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def extract(self, items: Sequence[Any]) -> NDArray[np.float32]:
        self.sizes.append(len(items))
        for item in items:
            if not isinstance(item, str):
                raise ExtractionError(f"a text must be a string. Got {item!r}")
        counts = [[item.count(letter) for letter in "abc"] for item in items]
        return np.array(counts, dtype=np.float32).reshape(len(items), 3)


class Returning(Letters):
    """Returns what it was told to."""

    def __init__(self, change: Callable[[NDArray[np.float32]], Any], space: SpaceVersion = SPACE) -> None:
        super().__init__()
        self.change, self.space = change, space

    def extract(self, items: Sequence[Any]) -> Any:
        return self.change(super().extract(items))


WORDS = ["a", "bb", "cab", "abc" * 3, "b", "cc", "ba", "aab", "c"]


# extract_embeddings


def test_rows_ids_and_labels_follow_the_items() -> None:
    letters, counts = Letters(), []
    embeddings = extract_embeddings(
        letters, WORDS, ids=[f"w{row}" for row in range(9)], labels=["x"] * 9, progress=counts.append
    )
    np.testing.assert_array_equal(embeddings.vectors, [[word.count(letter) for letter in "abc"] for word in WORDS])
    assert embeddings.ids.tolist() == [f"w{row}" for row in range(9)]
    assert embeddings.labels is not None
    assert embeddings.labels.tolist() == ["x"] * 9
    assert embeddings.space is SPACE
    assert letters.sizes == [4, 4, 1]
    assert counts == [4, 4, 1]


def test_ids_are_row_numbers_by_default() -> None:
    assert extract_embeddings(Letters(), ["a", "b"]).ids.tolist() == ["0", "1"]


def test_no_items() -> None:
    embeddings = extract_embeddings(Letters(), [])
    assert embeddings.vectors.shape == (0, 3)


def test_a_bad_item_ends_the_run_and_is_named() -> None:
    with pytest.raises(
        ExtractionError, match=r"item 'six' \(row 5\) cannot be embedded: a text must be a string. Got 5"
    ):
        extract_embeddings(Letters(), ["a", "b", "c", "a", "b", 5], ids=["one", "two", "three", "four", "five", "six"])


def test_bad_items_are_skipped_and_listed_in_order() -> None:
    skipped: list[SkippedItem] = []
    embeddings = extract_embeddings(
        Letters(), ["a", None, "b", "", 7, "c"], ids=list("uvwxyz"), labels=list("UVWXYZ"), on_skip=skipped.append
    )
    assert embeddings.ids.tolist() == ["u", "w", "z"]
    assert embeddings.labels is not None
    assert embeddings.labels.tolist() == ["U", "W", "Z"]
    np.testing.assert_array_equal(embeddings.vectors, np.eye(3))
    assert skipped == [
        SkippedItem(1, "v", "a text must be a string. Got None"),
        SkippedItem(3, "x", "the extractor returned all zeros"),
        SkippedItem(4, "y", "a text must be a string. Got 7"),
    ]


def test_everything_may_be_skipped() -> None:
    skipped: list[SkippedItem] = []
    assert len(extract_embeddings(Letters(), [1, 2, 3], on_skip=skipped.append)) == 0
    assert [item.row for item in skipped] == [0, 1, 2]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_a_failed_item(value: float) -> None:
    def spoil(result: NDArray[np.float32]) -> NDArray[np.float32]:
        result[1:2] = value
        return result

    with pytest.raises(ExtractionError, match=r"item '1' \(row 1\).*NaN or infinity"):
        extract_embeddings(Returning(spoil), ["a", "b", "c"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda vectors: vectors[:, :2], r"shape \(2, 3\). Got ndarray of shape \(2, 2\) and dtype float32"),
        (lambda vectors: vectors[:1], r"Got ndarray of shape \(1, 3\)"),
        (lambda vectors: vectors.astype(np.float64), "dtype float64"),
        (lambda vectors: vectors.tolist(), "Got list of shape None"),
    ],
)
def test_what_is_not_a_float32_array_of_the_space_is_refused(change: Callable[[Any], Any], message: str) -> None:
    skipped: list[SkippedItem] = []
    with pytest.raises(ExtractionError, match=message):
        extract_embeddings(Returning(change), ["a", "b"], on_skip=skipped.append)
    assert not skipped


def test_a_normalized_space_needs_unit_vectors() -> None:
    space = SPACE.model_copy(update={"normalized": True})
    with pytest.raises(InputError, match="must have unit norm"):
        extract_embeddings(Returning(lambda embeddings: 2 * embeddings, space), ["a", "b"])


@pytest.mark.parametrize("items", ["abc", b"abc", iter(["a"])])
def test_items_must_be_a_sequence(items: Any) -> None:
    with pytest.raises(InputError, match="items must be a sequence of items"):
        extract_embeddings(Letters(), items)


def test_ids_are_checked_before_the_model_runs() -> None:
    letters = Letters()
    with pytest.raises(InputError, match="ids must be unique"):
        extract_embeddings(letters, ["a", "b"], ids=["x", "x"])
    with pytest.raises(InputError, match="labels must have one entry"):
        extract_embeddings(letters, ["a", "b"], labels=["x"])
    assert not letters.sizes


# check_extractor


def test_a_good_extractor_passes() -> None:
    assert isinstance(Letters(), Extractor)
    check_extractor(Letters(), WORDS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda vectors: vectors[:, :2], "must return shape"),
        (lambda vectors: vectors.astype(np.float64), "must return float32"),
        (lambda vectors: vectors * np.float32(np.nan), "must return finite"),
        (lambda vectors: vectors * 0, "must not return zeros"),
        (lambda vectors: vectors * 0 + 1, "different items must get different vectors"),
        (lambda vectors: vectors + np.float32(len(vectors)), "one item alone"),
        (lambda vectors: vectors + np.linspace(0, 1, len(vectors), dtype=np.float32)[:, np.newaxis], "one item alone"),
        (lambda vectors: vectors if len(vectors) else vectors.reshape(0, 3).astype(np.float64), "no items must give"),
    ],
)
def test_a_bad_extractor_is_told_what_is_wrong(change: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_extractor(Returning(change), WORDS)


def test_a_random_extractor_is_told_so() -> None:
    rng = np.random.default_rng(0)
    noisy = Returning(lambda result: result + rng.standard_normal(result.shape).astype(np.float32))
    with pytest.raises(AssertionError, match="the same items must give the same vectors twice"):
        check_extractor(noisy, WORDS)


def test_a_space_without_fingerprint_or_with_wrong_norm_is_told_so() -> None:
    with pytest.raises(AssertionError, match="fingerprint must not be empty"):
        check_extractor(Returning(lambda result: result, SPACE.model_copy(update={"fingerprint": {}})), WORDS)
    with pytest.raises(AssertionError, match="says normalized"):
        check_extractor(Returning(lambda result: result, SPACE.model_copy(update={"normalized": True})), WORDS)
    with pytest.raises(AssertionError, match="at least three items"):
        check_extractor(Letters(), WORDS[:2])
