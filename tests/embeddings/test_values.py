from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from embcompat.aligners import AffineAligner
from embcompat.embeddings import Embeddings, normalize_rows
from embcompat.errors import InputError
from embcompat.spaces import SpaceVersion

DOT = SpaceVersion(name="toy", version="1", dim=3, similarity="dot")
COSINE = DOT.model_copy(update={"similarity": "cosine"})
UNIT = DOT.model_copy(update={"similarity": "cosine", "normalized": True})


def test_holds_contiguous_float32_whatever_floats_came_in() -> None:
    for array in (np.ones((2, 3)), np.ones((3, 2), np.float16).T, np.ones((4, 3), np.float32)[::2]):
        embeddings = Embeddings(array, ["a", "b"], DOT)
        assert embeddings.vectors.dtype == np.float32
        assert embeddings.vectors.flags.c_contiguous
        assert len(embeddings) == 2


def test_float32_is_not_copied() -> None:
    array = np.ones((2, 3), np.float32)
    assert np.shares_memory(Embeddings(array, ["a", "b"], DOT).vectors, array)


def test_no_rows_are_fine() -> None:
    assert len(Embeddings(np.zeros((0, 3)), [], UNIT)) == 0


@pytest.mark.parametrize(
    ("vectors", "match"),
    [
        (np.ones(3), r"vectors must have shape \(n, 3\) for space 'toy@1'. Got \(3,\)"),
        (np.ones((2, 4)), r"Got \(2, 4\)"),
        (np.ones((2, 3), int), "must be an array of floats. Got dtype int64"),
        ([[1.0, 2, 3], [1, np.nan, 3]], "must be finite. Row 1"),
        ([[1.0, 2, 3], [1, np.inf, 3]], "must be finite. Row 1"),
        ([[1.0, 2, 3], [1, 1e300, 3]], "must be finite. Row 1"),
    ],
)
def test_bad_vectors_are_named(vectors: object, match: str) -> None:
    with pytest.raises(InputError, match=match):
        Embeddings(vectors, ["a", "b"], DOT)  # type: ignore[arg-type]


def test_zero_rows_are_refused_where_they_have_no_direction() -> None:
    rows = np.array([[1.0, 0, 0], [0, 0, 0]])
    Embeddings(rows, ["a", "b"], DOT)
    with pytest.raises(InputError, match="must not be zero.*Row 1"):
        Embeddings(rows, ["a", "b"], COSINE)


def test_a_normalized_space_wants_unit_norm() -> None:
    rows = np.array([[1.0, 0, 0], [0, 1.1, 0]])
    with pytest.raises(InputError, match=r"Row 1 has norm 1\.1"):
        Embeddings(rows, ["a", "b"], UNIT)
    Embeddings(normalize_rows(rows), ["a", "b"], UNIT)


@pytest.mark.parametrize("row", [0, 65_535, 65_536, 70_000])
def test_the_bad_row_is_found_in_every_block(row: int) -> None:
    vectors = np.ones((70_001, 3), np.float32)
    vectors[row, 1] = np.nan
    with pytest.raises(InputError, match=rf"Row {row} "):
        Embeddings(vectors, [str(number) for number in range(len(vectors))], DOT)


@pytest.mark.parametrize(
    ("ids", "match"),
    [
        (["a"], "one entry for each of the 2 vectors. Got 1"),
        (["a", ""], "non-empty strings. Row 1 is ''"),
        (["a", 7], r"Row 1 is 7 \(int\)"),
        (["a", None], "Row 1 is None"),
        (["a", "a"], "must be unique. 'a' is in rows 0 and 1"),
    ],
)
def test_bad_ids_are_named(ids: list[str], match: str) -> None:
    with pytest.raises(InputError, match=match):
        Embeddings(np.ones((2, 3)), ids, DOT)


def test_labels_may_repeat() -> None:
    embeddings = Embeddings(np.ones((2, 3)), ["a", "b"], DOT, ["x", "x"])
    assert embeddings.labels is not None
    assert embeddings.labels.tolist() == ["x", "x"]


def test_rows_are_selected_in_the_order_asked() -> None:
    embeddings = Embeddings(np.arange(9.0).reshape(3, 3), ["a", "b", "c"], DOT, ["x", "y", "z"])
    chosen = embeddings.select([2, 0])
    assert chosen.ids.tolist() == ["c", "a"]
    assert chosen.vectors[0].tolist() == [6, 7, 8]
    assert embeddings.select(np.array([False, True, False])).ids.tolist() == ["b"]
    with pytest.raises(InputError, match="once"):
        embeddings.select([0, 0])


@given(arrays(np.float64, (4, 3), elements=st.floats(-1e6, 1e6)))
def test_normalized_rows_have_unit_norm_or_stay_zero(rows: np.ndarray) -> None:
    norms = np.linalg.norm(normalize_rows(rows), axis=1)
    assert np.all(np.isclose(norms, 1) | (np.linalg.norm(rows, axis=1) == 0))


def test_texts_go_with_their_rows() -> None:
    embeddings = Embeddings(np.ones((3, 3)), ["a", "b", "c"], DOT, texts=["one", "", "three"])
    assert embeddings.texts is not None
    assert embeddings.texts.tolist() == ["one", "", "three"]
    assert embeddings.select([2, 0]).texts.tolist() == ["three", "one"]
    assert "texts=True" in repr(embeddings)
    with pytest.raises(InputError, match=r"texts must hold strings. Row 1 is None"):
        Embeddings(np.ones((2, 3)), ["a", "b"], DOT, texts=["one", None])
    with pytest.raises(InputError, match="texts must have one entry for each of the 2 vectors. Got 1"):
        Embeddings(np.ones((2, 3)), ["a", "b"], DOT, texts=["one"])


def test_texts_are_added_by_id() -> None:
    embeddings = Embeddings(np.ones((2, 3)), ["a", "b"], DOT, ["x", "y"])
    added = embeddings.with_texts({"b": "two", "other": "no row"})
    assert added.texts is not None
    assert added.texts.tolist() == ["", "two"]
    assert added.labels is embeddings.labels
    assert embeddings.texts is None
    with pytest.raises(InputError, match=r"texts must share ids.*first ids: 'c', 'a'"):
        embeddings.with_texts({"c": "three"})


def test_tensors_and_ragged_lists() -> None:
    torch = pytest.importorskip("torch")
    space = SpaceVersion(name="ada", version="2", dim=2, similarity="dot")
    for tensor in (torch.ones(2, 2), torch.ones(2, 2).bfloat16(), torch.ones(2, 2, requires_grad=True)):
        np.testing.assert_array_equal(Embeddings(tensor, ["a", "b"], space).vectors, np.ones((2, 2)))
    with pytest.raises(InputError, match="vectors must be an array of numbers, every row of the same length"):
        Embeddings([[1.0, 2.0], [3.0]], ["a", "b"], space)
    aligner = AffineAligner(np.eye(2), np.zeros(2))
    np.testing.assert_array_equal(aligner.transform(torch.ones(1, 2).bfloat16()), np.ones((1, 2)))
    with pytest.raises(InputError, match="every row of the same length"):
        aligner.transform([[1.0, 2.0], [3.0]])
    assert repr(aligner) == "AffineAligner(source_dim=2, target_dim=2, solver='ridge')"
