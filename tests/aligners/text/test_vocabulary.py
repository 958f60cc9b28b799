from __future__ import annotations

from collections import Counter

import pytest

from embcompat.aligners.text.vocabulary import count_vocabulary
from embcompat.errors import InputError

TEXTS = ["the heat flow", "the heat flow of a plate", "the heat flow over plates", "secret"]


def test_words_and_pairs_are_counted_and_the_frequent_are_chosen() -> None:
    vocabulary = count_vocabulary(TEXTS)
    assert vocabulary.words == {"flow": 3, "heat": 3, "the": 3}
    assert vocabulary.bigrams == {("heat", "flow"): 3, ("the", "heat"): 3}
    assert vocabulary.tokens == sum(len(text.split()) for text in TEXTS)
    every = count_vocabulary(TEXTS, min_count=1)
    assert every.words == Counter(" ".join(TEXTS).split())
    assert count_vocabulary(TEXTS, max_words=1, max_bigrams=0).words == {"flow": 3}


def test_the_order_of_the_texts_changes_nothing() -> None:
    one, other = (count_vocabulary(texts, min_count=1) for texts in (TEXTS, TEXTS[::-1]))
    assert list(one.words) == list(other.words)
    assert list(one.bigrams) == list(other.bigrams)


def test_stop_words_are_not_stored_in_pairs_either() -> None:
    vocabulary = count_vocabulary(TEXTS, stop_words=["HEAT"])
    assert set(vocabulary.words) == {"flow", "the"}
    assert not vocabulary.bigrams


def test_bad_options_are_named() -> None:
    with pytest.raises(InputError, match="min_count must be 1 or more"):
        count_vocabulary(TEXTS, min_count=0)
    with pytest.raises(InputError, match="words that occur 2 times or more. Got 2 words in all"):
        count_vocabulary(["one text"])
