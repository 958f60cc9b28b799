"""Build a static encoder: ask the new model about each word of a corpus once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embcompat.aligners.text.encoder import SMOOTHING, StaticEncoder
from embcompat.aligners.text.tokens import join_words
from embcompat.aligners.text.vocabulary import MAX_BIGRAMS, MAX_WORDS, MIN_COUNT, count_vocabulary
from embcompat.errors import InputError
from embcompat.extractors import Extractor, SkippedItem, extract_embeddings
from embcompat.progress import Advance, ProgressFactory, silent
from embcompat.spaces import SpaceVersion

Embed = Callable[[Sequence[str]], NDArray[np.floating]]
"""Embeds texts: n texts give an array (n, dim)."""


def build_static_encoder(
    model: Extractor | Embed,
    texts: Iterable[str],
    *,
    max_words: int = MAX_WORDS,
    max_bigrams: int = MAX_BIGRAMS,
    min_count: int = MIN_COUNT,
    stop_words: Iterable[str] = (),
    progress: ProgressFactory = silent,
) -> StaticEncoder:
    """Build a `StaticEncoder` of the words and frequent pairs of words of a corpus.

    The model embeds at most ``max_words`` + ``max_bigrams`` words, about 40,000 tokens, however large the gallery is.
    It should embed them as it embeds documents, prompt included. The table lists the corpus' words: whoever reads it
    learns which words the corpus holds, so raise ``min_count`` or pass ``stop_words`` where that is private.

    Args:
        model: The new model: an extractor, or any function from texts to an array (n, dim).
        texts: The corpus, or a part of it that stands for the whole. It is read twice.
        max_words: As in `count_vocabulary`, with the options that follow.
        max_bigrams: As in `count_vocabulary`.
        min_count: As in `count_vocabulary`.
        stop_words: As in `count_vocabulary`.
        progress: Takes the number of words to embed; yields a function that takes the number newly embedded.

    Raises:
        InputError: If an option is out of range, no word is left, or the model can embed none of them.

    Example:
        >>> lengths = lambda words: np.array([[len(word), 1.0] for word in words])
        >>> build_static_encoder(lengths, ["a cat sat", "a cat ran", "the dog sat"])
        StaticEncoder(words=3, bigrams=0, dim=2)
    """
    corpus = list(texts)
    vocabulary = count_vocabulary(
        corpus, max_words=max_words, max_bigrams=max_bigrams, min_count=min_count, stop_words=stop_words
    )
    with progress(len(vocabulary.words) + len(vocabulary.bigrams)) as advance:
        words, vectors = _embed(model, list(vocabulary.words), list(vocabulary.words), advance)
        if not words:
            raise InputError("the model must be able to embed single words. Got no vector for any of them.")
        row_of = {word: row for row, word in enumerate(words)}
        pairs = [pair for pair in vocabulary.bigrams if pair[0] in row_of and pair[1] in row_of]
        pairs.sort(key=lambda pair: (row_of[pair[0]], row_of[pair[1]]))
        pairs, pair_vectors = _embed(model, pairs, [join_words(*pair) for pair in pairs], advance)
    mean = np.zeros(vectors.shape[1])
    return StaticEncoder(
        words,
        vectors,
        _weights([vocabulary.words[word] for word in words], vocabulary.tokens),
        mean,
        np.array([[row_of[first], row_of[second]] for first, second in pairs]),
        pair_vectors.reshape(len(pairs), len(mean)),
        _weights([vocabulary.bigrams[pair] for pair in pairs], vocabulary.tokens),
        mean,
    ).centred_on(corpus)


def _weights(counts: list[int], total: int) -> NDArray[np.float64]:
    return np.asarray(SMOOTHING / (SMOOTHING + np.array(counts, dtype=np.float64) / total))


def _embed(
    model: Extractor | Embed, keys: list[Any], texts: list[str], progress: Advance
) -> tuple[list[Any], NDArray[np.float32]]:
    """Embed words; leave out those that the model refuses."""
    if not isinstance(model, Extractor) and not texts:
        return [], np.empty((0, 0), dtype=np.float32)
    skipped: list[SkippedItem] = []
    extractor = model if isinstance(model, Extractor) else _Function(model, texts[0])
    embedded = extract_embeddings(extractor, texts, on_skip=skipped.append, progress=progress)
    missing = {item.row for item in skipped}
    return [key for row, key in enumerate(keys) if row not in missing], embedded.vectors


class _Function:
    """A function from texts to vectors, as an extractor."""

    chunk_size = 2_048

    def __init__(self, embed: Embed, example: str) -> None:
        self._embed = embed
        dim = np.asarray(embed([example])).shape[-1]
        self.space = SpaceVersion(name="function", version="1", dim=dim, similarity="dot")

    def extract(self, items: Sequence[Any]) -> NDArray[np.float32]:
        """Embed items."""
        return np.asarray(self._embed(items), dtype=np.float32)
