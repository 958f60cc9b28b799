from __future__ import annotations

import math

import numpy as np
import pytest

from embcompat.evaluation.retrieval.lexical import search_lexically

WORDS = [f"w{chr(97 + row)}" for row in range(12)]


def bm25(query: str, document: str, documents: list[str]) -> float:
    """The formula, word by word."""
    mean = sum(len(each.split()) for each in documents) / len(documents)
    score = 0.0
    for word in set(query.split()):
        holders = sum(word in each.split() for each in documents)
        count = document.split().count(word)
        length = 1 - 0.75 + 0.75 * len(document.split()) / mean
        idf = math.log(1 + (len(documents) - holders + 0.5) / (holders + 0.5))
        score += idf * count * 2.2 / (count + 1.2 * length)
    return score


def test_scores_are_those_of_the_formula() -> None:
    rng = np.random.default_rng(0)
    documents = {f"d{row}": " ".join(rng.choice(WORDS, rng.integers(1, 30))) for row in range(20)}
    run = search_lexically({"q": "wa wb wc unknown"}, documents)
    for name, text in documents.items():
        expected = bm25("wa wb wc unknown", text, list(documents.values()))
        assert run["q"].get(name, 0.0) == pytest.approx(expected)


def test_edges() -> None:
    assert search_lexically({}, {"a": "heat"}) == {}
    assert search_lexically({"q": "heat"}, {}) == {"q": {}}
    assert search_lexically({"q": ""}, {"a": "", "b": "heat"}) == {"q": {}}
