"""StaticEncoder: vectors of texts from the new model's vectors of their words. numpy only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embcompat.aligners.text.lookup import HashIndex, hash_words
from embcompat.aligners.text.tokens import Words, split_words
from embcompat.embeddings import normalize_rows
from embcompat.errors import InputError

SMOOTHING = 1e-3
"""a in the weight a / (a + p) of a word of probability p (Arora et al., 2017)."""

_BLOCK_CHARACTERS = 1 << 19
"""Characters of texts that are encoded together; bounds the memory."""

_FREQUENT_ROWS = 256
"""Rows of a table that are weighed by one matrix product: gathering them text by text takes longer."""


@final
class StaticEncoder:
    """Embeds texts as weighted means of stored vectors of their words, and of their pairs of neighbouring words.

    For words, and likewise for pairs of words,

        u(text) = norm(Σ w_i (t_i − m) / Σ w_i),   w_i = a / (a + p_i),

    over the words of the text that the table holds, with the new model's vector t_i of the word alone, its probability
    p_i in the corpus, and the corpus' mean m. The result is [words ; bigrams], each of unit norm, or the words alone
    where there are no bigrams; a part without a single known word is zero. After model2vec's static embeddings (Minish
    Lab, 2024); the weights are those of Arora, Liang and Ma, A simple but tough-to-beat baseline for sentence
    embeddings (2017); the pairs of words and the centring are ours.

    Args:
        words: The words, by falling frequency.
        vectors: Their vectors (words, dim).
        weights: Their weights (words,).
        mean: m of the words, (dim,).
        bigrams: Pairs of words as row numbers (bigrams, 2), rising.
        bigram_vectors: Their vectors (bigrams, dim).
        bigram_weights: Their weights (bigrams,).
        bigram_mean: m of the pairs, (dim,).

    Raises:
        InputError: If the shapes do not fit.
    """

    def __init__(
        self,
        words: Sequence[str],
        vectors: ArrayLike,
        weights: ArrayLike,
        mean: ArrayLike,
        bigrams: ArrayLike,
        bigram_vectors: ArrayLike,
        bigram_weights: ArrayLike,
        bigram_mean: ArrayLike,
    ) -> None:
        self.words = tuple(words)
        self.bigrams = np.ascontiguousarray(bigrams, dtype=np.int32).reshape(-1, 2)
        self._tables = (
            _Table(vectors, weights, mean, what="words"),
            _Table(bigram_vectors, bigram_weights, bigram_mean, what="bigrams"),
        )
        counts = len(self.words), len(self.bigrams)
        if counts != (len(self._tables[0]), len(self._tables[1])) or len({table.dim for table in self._tables}) > 1:
            raise InputError(
                f"{counts[0]} words and {counts[1]} bigrams need as many vectors, of one length. "
                f"Got {len(self._tables[0])} of {self._tables[0].dim} and {len(self._tables[1])} of "
                f"{self._tables[1].dim}."
            )
        self._word_index = HashIndex(hash_words(_as_words(self.words)))
        self._bigram_index = HashIndex(self._bigram_keys(self.bigrams[:, 0], self.bigrams[:, 1]))
        self._starts = np.zeros(len(self.words) + 1, dtype=bool)
        self._starts[self.bigrams[:, 0]] = True

    @property
    def dim(self) -> int:
        """Length of what `encode` returns: that of a word's vector, twice where there are bigrams."""
        return self._tables[0].dim * (1 if len(self.bigrams) == 0 else 2)

    def __repr__(self) -> str:
        return f"StaticEncoder(words={len(self.words)}, bigrams={len(self.bigrams)}, dim={self.dim})"

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the arrays; the words as the bytes of one text, a line each."""
        (words, bigrams), text = self._tables, "\n".join(self.words)
        return {
            "vocabulary": np.frombuffer(text.encode(), dtype=np.uint8),
            "vectors": words.vectors,
            "weights": words.weights,
            "mean": words.mean,
            "bigrams": self.bigrams,
            "bigram_vectors": bigrams.vectors,
            "bigram_weights": bigrams.weights,
            "bigram_mean": bigrams.mean,
        }

    def without_bigrams(self) -> Self:
        """Return the encoder of the words alone; its `encode` gives the first half of what this one gives."""
        state, dim = self.state(), self._tables[0].dim
        empty = {"bigrams": np.empty((0, 2)), "bigram_vectors": np.empty((0, dim)), "bigram_weights": np.empty(0)}
        return type(self).from_state({**state, **empty, "bigram_mean": np.zeros(dim)})

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[Any]]) -> Self:
        """Build the encoder again from `state`."""
        arrays = dict(state)
        words = arrays.pop("vocabulary").tobytes().decode().split("\n")
        return cls(words, **arrays)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts, in blocks of bounded memory.

        Args:
            texts: n texts; an empty one gives zeros.

        Returns:
            Array (n, dim), float32.
        """
        result = np.empty((len(texts), self.dim), dtype=np.float32)
        for rows in _blocks(texts):
            for number, means in enumerate(self._means(texts[rows])):
                part = result[rows, number * self._tables[0].dim :][:, : self._tables[0].dim]
                known: NDArray[np.bool_] = np.asarray(means.any(axis=1))
                means -= self._tables[number].mean
                means[~known] = 0
                part[:] = normalize_rows(means)
        return result

    def centred_on(self, texts: Iterable[str]) -> Self:
        """Return the encoder with the means of a corpus.

        Args:
            texts: The corpus, or a part of it that stands for the whole.
        """
        corpus = list(texts)
        sums, counts = np.zeros((2, self._tables[0].dim)), np.zeros(2)
        for rows in _blocks(corpus):
            for number, block in enumerate(self._means(corpus[rows])):
                sums[number] += np.asarray(block.sum(axis=0, dtype=np.float64))
                counts[number] += np.count_nonzero(block.any(axis=1))
        words, bigrams = sums / np.maximum(counts, 1)[:, np.newaxis]
        state = {**self.state(), "mean": words, "bigram_mean": bigrams}
        return type(self).from_state(state)

    def _means(self, texts: Sequence[str]) -> Iterator[NDArray[np.float32]]:
        """Give the weighted means (n, dim / 2) of the words and of the bigrams of some texts."""
        words = split_words(texts)
        rows, text_of = self._word_index.find(hash_words(words)), words.text_of
        yield self._tables[0].means(rows, text_of, len(texts))
        if len(self.bigrams) == 0:
            return
        first, second = rows[:-1], rows[1:]
        paired = np.flatnonzero(self._starts[first] & (second >= 0) & (text_of[:-1] == text_of[1:]))
        places = self._bigram_index.find(self._bigram_keys(first[paired], second[paired]))
        yield self._tables[1].means(places, text_of[paired], len(texts))

    def _bigram_keys(self, first: NDArray[np.integer], second: NDArray[np.integer]) -> NDArray[np.uint64]:
        return np.asarray(first.astype(np.int64) * len(self.words) + second).view(np.uint64)


def _blocks(texts: Sequence[str]) -> Iterator[slice]:
    """Give the rows of texts that together have about `_BLOCK_CHARACTERS`."""
    ends = np.cumsum(np.fromiter(map(len, texts), dtype=np.int64, count=len(texts)))
    start = 0
    while start < len(texts):
        characters = 0 if start == 0 else ends[start - 1]
        stop = max(start + 1, int(np.searchsorted(ends, characters + _BLOCK_CHARACTERS, side="right")))
        yield slice(start, stop)
        start = stop


def _as_words(words: Sequence[str]) -> Words:
    """Return words as places in one array of characters."""
    codes = np.frombuffer("".join(words).encode("utf-32-le", "surrogatepass"), "<u4")
    lengths = np.fromiter(map(len, words), dtype=np.intp, count=len(words))
    ends = np.cumsum(lengths)
    return Words(codes.astype(np.uint32), ends - lengths, ends, np.arange(len(words)))


@final
class _Table:
    """Vectors with weights, and the mean of a corpus."""

    def __init__(self, vectors: ArrayLike, weights: ArrayLike, mean: ArrayLike, *, what: str) -> None:
        self.vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        self.weights = np.ascontiguousarray(weights, dtype=np.float32)
        self.mean = np.ascontiguousarray(mean, dtype=np.float32)
        shapes = self.vectors.shape, self.weights.shape, self.mean.shape
        if self.vectors.ndim != 2 or shapes[1:] != ((len(self.vectors),), self.vectors.shape[1:]):
            raise InputError(
                f"vectors, weights and mean of the {what} must have the shapes (n, dim), (n,) and (dim,). Got {shapes}."
            )
        frequent = np.argsort(self.weights, kind="stable")[:_FREQUENT_ROWS]
        self._frequent = self.vectors[frequent] * self.weights[frequent, np.newaxis]
        # The last entry of each stands for row -1, which is not in the table.
        self._weight_of = np.append(self.weights, np.float32(0))
        self._column_of = np.full(len(self.vectors) + 1, len(frequent))
        self._column_of[frequent] = np.arange(len(frequent))
        self._is_rare = np.append(np.ones(len(self.vectors), dtype=bool), False)
        self._is_rare[frequent] = False

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.vectors.shape[1])

    def means(self, rows: NDArray[np.integer], text_of: NDArray[np.intp], count: int) -> NDArray[np.float32]:
        """Return the weighted means (count, dim) of the rows of each text; zero where there are none.

        Args:
            rows: Rows of the table, those of a text together; -1 for what the table does not hold.
            text_of: The text of each, ascending.
            count: Number of texts.
        """
        weights = self._weight_of[rows]
        totals = np.bincount(text_of, weights=weights, minlength=count)
        width = len(self._frequent)
        places = text_of * (width + 1) + self._column_of[rows]
        counts = np.bincount(places, minlength=count * (width + 1)).reshape(count, width + 1)[:, :width]
        result = np.zeros((count, self.dim), dtype=np.float32)
        rare = np.flatnonzero(self._is_rare[rows])
        rare_rows, rare_weights = rows[rare], weights[rare]
        borders = np.searchsorted(text_of[rare], np.arange(count + 1))
        gathered = np.empty((int(np.diff(borders).max(initial=0)), self.dim), dtype=np.float32)
        for mean, start, end in zip(result, borders[:-1].tolist(), borders[1:].tolist(), strict=True):
            part = gathered[: end - start]  # a text's rows stay in the processor's cache: faster than all at once
            self.vectors.take(rare_rows[start:end], 0, part, "clip")
            np.dot(rare_weights[start:end], part, out=mean)
        result += counts.astype(np.float32) @ self._frequent  # most words are of the few frequent ones
        result /= np.maximum(totals, 1e-12)[:, np.newaxis].astype(np.float32)
        return result
