"""A conversion with texts beside simpler ways: by the vectors alone, by the words alone, by BM25."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from embcompat.aligners.text import TextAwareAligner
from embcompat.embeddings import Embeddings, normalize_rows
from embcompat.evaluation.bootstrap import bootstrap_difference, bootstrap_mean
from embcompat.evaluation.retrieval.hybrid import Run
from embcompat.evaluation.retrieval.lexical import search_lexically
from embcompat.evaluation.retrieval.metrics import metric_per_query
from embcompat.evaluation.retrieval.ranks import ScoreTerm, rank_relevant
from embcompat.results import TEXT_LINES, TextLine, TextLineName, TextReport
from embcompat.upgrade.cases import SearchCase

TIMED_ROWS = 1_000
"""Rows on which the time of a conversion is measured [ours]."""

MOST_LEXICAL = 100_000
"""Most items of a gallery that BM25 searches: it takes seconds for that many [ours]."""


def measure_texts(case: SearchCase, aligner: TextAwareAligner, *, metric: str, seed: int) -> TextReport:
    """Measure a conversion with texts, one by the vectors alone, and one by the words alone, on held-out queries.

    Each is measured in the gallery without the fitted items. The last one takes the encoder's vectors of words as they
    are, without old vectors and without pairs.

    Args:
        case: Galleries, queries and judgements.
        aligner: The aligner.
        metric: What to measure.
        seed: Seed of the bootstrap.
    """
    sides = case.sides
    native, relevance = case.held_out_relevance()
    order, size = np.argsort(native, kind="stable"), int(np.count_nonzero(~native))
    old, new = sides.old_gallery, sides.new_gallery.space
    texts = [] if old.texts is None else old.texts.tolist()
    words = aligner.encoder.without_bigrams().encode(texts)
    unknown = ~words.any(axis=1)
    words[unknown] = aligner.encoder.state()["mean"]  # no direction is better than another

    def values(queries: NDArray[np.float32], gallery: NDArray[np.float32], space_of: Embeddings) -> NDArray[np.float64]:
        term = ScoreTerm(queries, gallery, space_of.space.similarity)
        return metric_per_query(metric, rank_relevant([term], relevance, order=order, sizes=[size])[0], relevance)

    galleries: dict[TextLineName, NDArray[np.float32]] = {
        "text_aware": sides.converted.vectors,
        "plain": aligner.plain.transform(old.vectors),
        "words_alone": normalize_rows(words),
    }
    unweighted = sides.new_queries.vectors
    queries = {"text_aware": sides.target_queries, "plain": unweighted, "words_alone": unweighted}
    figures = {
        name: values(queries[name], galleries[name], sides.new_gallery)
        for name in TEXT_LINES
        if galleries[name].shape[1] == new.dim
    }
    today = values(sides.old_queries.vectors, old.vectors, old)
    lines = {
        name: TextLine(
            value=bootstrap_mean(each, seed=seed),
            difference=bootstrap_difference(each, today, seed=seed),
            gain=None if name == "text_aware" else bootstrap_difference(figures["text_aware"], each, seed=seed),
        )
        for name, each in figures.items()
    }
    return TextReport(
        metric=metric,
        lines=lines,
        rows_without_text=int(np.count_nonzero(unknown)),
        seconds_per_million=_seconds_per_million(case),
    )


def find_lexically(case: SearchCase) -> Run | None:
    """Return what BM25 finds, if queries and gallery have texts; None otherwise.

    Galleries of more than `MOST_LEXICAL` items are left out: pass a run of a search engine.
    """
    sides = case.sides
    queries = next((side for side in (sides.old_queries, sides.new_queries) if side.texts is not None), None)
    gallery = next((side for side in (sides.old_gallery, sides.new_gallery) if side.texts is not None), None)
    if queries is None or gallery is None or case.own_queries or len(gallery) > MOST_LEXICAL:
        return None
    return search_lexically(_texts_of(queries), _texts_of(gallery))


def _texts_of(side: Embeddings) -> dict[str, str]:
    return dict(zip(side.ids.tolist(), [] if side.texts is None else side.texts.tolist(), strict=True))


def _seconds_per_million(case: SearchCase) -> float:
    rows = case.sides.old_gallery.select(np.arange(min(TIMED_ROWS, len(case.sides.old_gallery))))
    start = time.perf_counter()
    case.galleries.maps.convert(rows)
    return (time.perf_counter() - start) / len(rows) * 1e6
