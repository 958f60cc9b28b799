"""Which words and pairs of words a corpus is described by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from embcompat.aligners.text.tokens import tokenize
from embcompat.errors import InputError

MAX_WORDS = 20_000
MAX_BIGRAMS = 10_000
MIN_COUNT = 2
MIN_BIGRAM_COUNT = 3


@dataclass(frozen=True)
class Vocabulary:
    """The words of a corpus, and its frequent pairs of neighbouring words, by falling frequency.

    Attributes:
        words: Count of each word.
        bigrams: Count of each pair of words.
        tokens: Words in the corpus, those that were left out included.
    """

    words: Mapping[str, int]
    bigrams: Mapping[tuple[str, str], int]
    tokens: int


def count_vocabulary(
    texts: Iterable[str],
    *,
    max_words: int = MAX_WORDS,
    max_bigrams: int = MAX_BIGRAMS,
    min_count: int = MIN_COUNT,
    stop_words: Iterable[str] = (),
) -> Vocabulary:
    """Count the words of a corpus and choose the most frequent.

    Args:
        texts: The corpus, or a part of it that stands for the whole.
        max_words: Most words.
        max_bigrams: Most pairs of words; 0 for none. A pair must occur at least 3 times, and both words be chosen.
        min_count: Times that a word must occur. A word that only one item holds may tell of that item: raise it where
            the vocabulary must not.
        stop_words: Words that must not be stored, in any case of letters.

    Raises:
        InputError: If an option is out of range, or no word is left.
    """
    if max_words < 1 or max_bigrams < 0 or min_count < 1:
        raise InputError(
            "max_words and min_count must be 1 or more and max_bigrams 0 or more. "
            f"Got {max_words}, {min_count} and {max_bigrams}."
        )
    words: Counter[str] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    for text in texts:
        tokens = tokenize(text)
        words.update(tokens)
        if max_bigrams:
            pairs.update(pairwise(tokens))
    total = words.total()
    for stopped in stop_words:
        for word in tokenize(stopped):
            del words[word]
    chosen = {word: count for word, count in _most_common(words, max_words) if count >= min_count}
    if not chosen:
        raise InputError(
            f"the texts must have words that occur {min_count} times or more. Got {total} words in all. "
            "Pass more texts, or lower min_count."
        )
    known = Counter({pair: count for pair, count in pairs.items() if pair[0] in chosen and pair[1] in chosen})
    least = max(min_count, MIN_BIGRAM_COUNT)
    bigrams = {pair: count for pair, count in _most_common(known, max_bigrams) if count >= least}
    return Vocabulary(chosen, bigrams, total)


def _most_common(counts: Counter, most: int) -> list:  # type: ignore[type-arg]
    """Return the most frequent, ties in alphabetical order, so that the order of the texts changes nothing."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]
