"""BM25: a search by words alone, for comparison."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from embcompat.aligners.text import tokenize


def search_lexically(
    queries: Mapping[str, str], documents: Mapping[str, str], *, k1: float = 1.2, b: float = 0.75
) -> dict[str, dict[str, float]]:
    """Score the documents that share a word with each query by BM25.

    Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond (2009); the idf is
    log(1 + (N − n + 0.5) / (n + 0.5)), which is never negative.

    Args:
        queries: Texts of the queries, by id.
        documents: Texts of the documents, by id.
        k1: How soon a word that is repeated adds no more.
        b: How much long documents are held back, 0 to 1.

    Returns:
        A run: scores by query and document.

    Example:
        >>> run = search_lexically({"q": "heat"}, {"a": "heat flow", "b": "jet"})
        >>> list(run["q"])
        ['a']
    """
    counts = {name: Counter(tokenize(text)) for name, text in documents.items()}
    postings: dict[str, list[tuple[str, int]]] = {}
    for name, words in counts.items():
        for word, count in words.items():
            postings.setdefault(word, []).append((name, count))
    lengths = {name: words.total() for name, words in counts.items()}
    mean = max(sum(lengths.values()) / max(len(lengths), 1), 1e-12)
    run: dict[str, dict[str, float]] = {}
    for query, text in queries.items():
        scores = run.setdefault(query, {})
        for word in set(tokenize(text)):
            rows = postings.get(word, [])
            rarity = np.log(1 + (len(documents) - len(rows) + 0.5) / (len(rows) + 0.5))
            for name, count in rows:
                saturated = count * (k1 + 1) / (count + k1 * (1 - b + b * lengths[name] / mean))
                scores[name] = scores.get(name, 0.0) + float(rarity * saturated)
    return run
