from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import embcompat as ec
from embcompat.embeddings import piece_rows
from embcompat.errors import InputError

SPACE = ec.SpaceVersion(name="toy", version="1", dim=1, similarity="dot")


@given(st.lists(st.text(alphabet="ab\n", min_size=1).filter(str.strip), max_size=60), st.integers(1, 9))
def test_pieces_hold_all_words_once_and_are_equally_long(words: list[str], length: int) -> None:
    text = " ".join(words)
    cut = ec.cut_texts([text], ["a"], words=length)
    assert cut.items[0] == text
    pieces = [piece.split() for piece in cut.items[1:]]
    if pieces:
        assert list(chain.from_iterable(pieces)) == text.split()
        sizes = [len(piece) for piece in pieces]
        assert max(sizes) - min(sizes) <= 1
        assert len(pieces) == round(len(text.split()) / length)
    else:
        assert len(text.split()) < 2 * length


def test_whole_texts_come_first_and_pieces_name_their_text() -> None:
    cut = ec.cut_texts(["one two three four", "five"], ["x", "y"], words=2)
    assert cut.items == ["one two three four", "five", "one two", "three four"]
    assert cut.ids == ["x", "y", "x#0", "x#1"]
    assert cut.labels == ["x", "y", "x", "x"]
    embeddings = ec.Embeddings(np.ones((4, 1)), cut.ids, SPACE, cut.labels)
    assert piece_rows(embeddings).tolist() == [False, False, True, True]
    assert not piece_rows(ec.Embeddings(np.ones((4, 1)), cut.ids, SPACE)).any()


def test_subjects_with_numbered_images_are_no_pieces() -> None:
    embeddings = ec.Embeddings(np.ones((3, 1)), ["anna/0", "anna#x", "anna"], SPACE, ["anna"] * 3)
    assert not piece_rows(embeddings).any()


def test_two_characters_count_as_a_word_where_nothing_separates_words() -> None:
    text = "机器学习是人工智能的一个分支"
    pieces = ec.cut_texts([text], ["a"], words=3).items[1:]
    assert "".join(pieces) == text
    assert len(pieces) == 2


def test_pieces_keep_the_text_between_words_as_it_is() -> None:
    assert ec.cut_texts(["a,  b\tc d"], ["x"], words=2).items[1:] == ["a,  b", "c d"]


def test_bad_input_is_named() -> None:
    with pytest.raises(InputError, match="words must be 1 or more. Got 0"):
        ec.cut_texts(["a"], ["a"], words=0)
    with pytest.raises(InputError, match="ids must be unique. 'a'"):
        ec.cut_texts(["a", "b"], ["a", "a"])
    with pytest.raises(InputError, match="ids must have one entry"):
        ec.cut_texts(["a", "b"], ["a"])
