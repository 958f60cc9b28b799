from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from embcompat.aligners.text import StaticEncoder, build_static_encoder, tokenize
from embcompat.errors import InputError

WEIGHT = 1e-3


def naive(encoder: StaticEncoder, corpus: list[str], text: str) -> np.ndarray:
    """Weighted means, word by word, centred on the corpus: the definition, written as a loop."""
    state = encoder.state()
    tables = [dict(zip(encoder.words, zip(state["vectors"], state["weights"], strict=True), strict=True))]
    pairs = [(encoder.words[a], encoder.words[b]) for a, b in encoder.bigrams]
    tables.append(dict(zip(pairs, zip(state["bigram_vectors"], state["bigram_weights"], strict=True), strict=True)))

    def mean(table: dict, units: list) -> np.ndarray | None:
        rows = [table[unit] for unit in units if unit in table]
        return sum(w * v for v, w in rows) / sum(w for _, w in rows) if rows else None

    def units(text: str) -> tuple[list, list]:
        words = tokenize(text)
        return words, list(pairwise(words))

    parts = []
    for number, table in enumerate(tables):
        means = [value for each in corpus if (value := mean(table, units(each)[number])) is not None]
        value = mean(table, units(text)[number])
        part = np.zeros(encoder.dim // 2) if value is None else value - np.mean(means, axis=0)
        parts.append(part / (np.linalg.norm(part) or 1))
    return np.concatenate(parts)


def test_it_computes_its_definition(encoder: StaticEncoder, texts: list[str]) -> None:
    assert len(encoder.bigrams)
    encoded = encoder.encode(texts[:20])
    np.testing.assert_allclose(encoded, [naive(encoder, texts, text) for text in texts[:20]], atol=1e-5)
    norms = np.linalg.norm(encoded.reshape(20, 2, -1), axis=2)
    assert np.all(np.isclose(norms, 1, atol=1e-5) | (norms == 0))


def test_weights_fall_with_the_frequency(encoder: StaticEncoder, texts: list[str]) -> None:
    counts = Counter(word for text in texts for word in tokenize(text))
    total = sum(counts.values())
    expected = [WEIGHT / (WEIGHT + counts[word] / total) for word in encoder.words]
    np.testing.assert_allclose(encoder.state()["weights"], expected, rtol=1e-6)


def test_a_text_alone_gives_what_it_gives_in_a_batch(encoder: StaticEncoder, texts: list[str]) -> None:
    many = texts * 4  # more than one block
    encoded = encoder.encode(many)
    for row in (0, 1, 1_023, 1_024, len(many) - 1):
        np.testing.assert_allclose(encoder.encode([many[row]])[0], encoded[row], atol=1e-6)


def test_texts_without_a_known_word_are_zero(encoder: StaticEncoder) -> None:
    encoded = encoder.encode(["", "unheard of", "  "])
    assert encoded.shape == (3, encoder.dim)
    assert not encoded.any()
    assert encoder.encode([]).shape == (0, encoder.dim)


def test_bigrams_do_not_reach_from_one_text_to_the_next(encoder: StaticEncoder) -> None:
    first, second = (encoder.words[row] for row in encoder.bigrams[0])
    half = encoder.dim // 2
    assert encoder.encode([f"{first} {second}"])[0, half:].any()
    assert not encoder.encode([first, second])[:, half:].any()


def test_the_words_alone_are_the_first_half(encoder: StaticEncoder, texts: list[str]) -> None:
    words = encoder.without_bigrams()
    assert (words.dim, len(words.bigrams)) == (encoder.dim // 2, 0)
    np.testing.assert_array_equal(words.encode(texts[:9]), encoder.encode(texts[:9])[:, : words.dim])


def test_it_survives_its_state(encoder: StaticEncoder, texts: list[str]) -> None:
    again = StaticEncoder.from_state(encoder.state())
    assert again.words == encoder.words
    np.testing.assert_array_equal(again.encode(texts[:9]), encoder.encode(texts[:9]))


def test_words_that_the_model_refuses_are_left_out() -> None:
    def model(words: list[str]) -> np.ndarray:
        return np.array([[0.0, 0.0] if word == "flow" else [1.0, len(word)] for word in words])

    encoder = build_static_encoder(model, ["the heat flow", "the heat flow", "the heat flow"])
    assert encoder.words == ("heat", "the")
    assert [encoder.words[row] for row in encoder.bigrams[0]] == ["the", "heat"]
    with pytest.raises(InputError, match="able to embed single words"):
        build_static_encoder(lambda words: np.zeros((len(words), 2)), ["a b a b"])


def test_bad_arrays_are_refused(encoder: StaticEncoder) -> None:
    state = encoder.state()
    with pytest.raises(InputError, match="words and .* bigrams need as many vectors"):
        StaticEncoder.from_state({**state, "bigrams": state["bigrams"][1:]})
    with pytest.raises(InputError, match=r"of the words must have the shapes \(n, dim\)"):
        StaticEncoder.from_state({**state, "weights": state["weights"][1:]})
