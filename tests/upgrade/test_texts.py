"""A conversion with texts is measured beside simpler ways."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import embcompat as ec
from embcompat.aligners import fit_affine
from embcompat.aligners.text import TextAwareAligner, build_static_encoder
from embcompat.report.terminal import show_result
from embcompat.results import parse_result

WORDS = [f"word{chr(97 + row)}" for row in range(20)]
NEW = ec.SpaceVersion(name="new", version="1", dim=10, normalized=True)
OLD = ec.SpaceVersion(name="old", version="1", dim=3, similarity="dot")
ITEMS, QUERIES = 200, 40


def new_model(texts: Sequence[str]) -> np.ndarray:
    table = {word: np.random.default_rng(row).standard_normal(NEW.dim) for row, word in enumerate(WORDS)}
    vectors = np.array([np.sum([table[word] for word in text.split()], axis=0) for text in texts])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


RNG = np.random.default_rng(0)
TEXTS = [" ".join(RNG.choice(WORDS, 12)) for _ in range(ITEMS)]
QUESTIONS = [" ".join(text.split()[:5]) for text in TEXTS[:QUERIES]]
LOSSY = RNG.standard_normal((NEW.dim, OLD.dim))
IDS = [f"d{row}" for row in range(ITEMS)]
QUERY_IDS = [f"q{row}" for row in range(QUERIES)]
ENCODER = build_static_encoder(new_model, TEXTS).without_bigrams()
SIDES: dict[str, Any] = {
    "old_gallery": ec.Embeddings(new_model(TEXTS) @ LOSSY, IDS, OLD, texts=TEXTS),
    "new_gallery": ec.Embeddings(new_model(TEXTS), IDS, NEW),
    "old_queries": ec.Embeddings(new_model(QUESTIONS) @ LOSSY, QUERY_IDS, OLD),
    "new_queries": ec.Embeddings(new_model(QUESTIONS), QUERY_IDS, NEW),
    "qrels": ec.Qrels({f"q{row}": {f"d{row}": 1.0} for row in range(QUERIES)}),
}


def fit_aligner() -> TextAwareAligner:
    source, target = SIDES["old_gallery"], SIDES["new_gallery"]
    worded = ec.SpaceVersion(name="worded", version="1", dim=OLD.dim + ENCODER.dim, similarity="dot")
    vectors = np.hstack([source.vectors, ENCODER.encode(TEXTS)])
    rows = np.arange(QUERIES, ITEMS)
    plain, text_pairs = (
        ec.PairedEmbeddings(side.select(rows), target.select(rows))
        for side in (source, ec.Embeddings(vectors, IDS, worded))
    )
    return TextAwareAligner(ENCODER, fit_affine(text_pairs, text_pairs), fit_affine(plain, plain))


ALIGNER = fit_aligner()
FITTED = IDS[QUERIES : ITEMS // 2]


def test_each_way_is_measured_as_its_own_gallery_would_be() -> None:
    evaluation = ec.evaluate_upgrade(ALIGNER, **SIDES, fitted_ids=FITTED)
    texts = evaluation.texts
    assert texts is not None
    rest = [row for row, name in enumerate(IDS) if name not in FITTED]
    old = SIDES["old_gallery"]
    galleries = {
        "text_aware": ALIGNER.transform(old.vectors, TEXTS),
        "plain": ALIGNER.plain.transform(old.vectors),
        "words_alone": ENCODER.encode(TEXTS),
    }
    for name, vectors in galleries.items():
        parts = {side: SIDES[side].select(rest) for side in ("old_gallery", "new_gallery")}
        converted = ec.Embeddings(vectors, IDS, NEW).select(rest)
        report = ec.evaluate_retrieval(**{**SIDES, **parts}, converted=converted)
        line = texts.lines[name]  # type: ignore[index]
        assert line.value.value == pytest.approx(report.lines["converted"].value), name
        assert line.difference.value == pytest.approx(report.differences["converted"].value), name
    gain = texts.lines["plain"].gain
    assert gain is not None
    assert gain.value == pytest.approx(texts.lines["text_aware"].value.value - texts.lines["plain"].value.value)
    assert texts.lines["text_aware"].gain is None
    assert texts.seconds_per_million > 0


def test_rows_without_a_known_word_are_counted() -> None:
    bare = SIDES["old_gallery"].with_texts({name: "" if row < 7 else TEXTS[row] for row, name in enumerate(IDS)})
    evaluation = ec.evaluate_upgrade(ALIGNER, **{**SIDES, "old_gallery": bare}, fitted_ids=FITTED)
    assert evaluation.texts is not None
    assert evaluation.texts.rows_without_text == 7


def test_the_figures_survive_json_and_are_printed() -> None:
    result = ec.evaluate_upgrade(ALIGNER, **SIDES, fitted_ids=FITTED).to_dict()
    parsed = parse_result(result)
    assert parsed.texts is not None
    assert dict(parsed.texts.to_dict()) == result["texts"]
    console = Console(width=100, record=True, file=None, quiet=False)
    with console.capture() as capture:
        show_result(result, console)
    output = capture.get()
    assert "Words alone" in output
    assert "Converting a million documents takes" in output


def test_bm25_is_measured_where_queries_have_texts() -> None:
    assert ec.evaluate_upgrade(ALIGNER, **SIDES, fitted_ids=FITTED).hybrid is None
    questions = SIDES["old_queries"].with_texts(dict(zip(QUERY_IDS, QUESTIONS, strict=True)))
    hybrid = ec.evaluate_upgrade(ALIGNER, **{**SIDES, "old_queries": questions}, fitted_ids=FITTED).hybrid
    assert hybrid is not None
    assert hybrid.lexical.value > 0.3, "a question holds words of its document"


def test_an_aligner_of_vectors_has_no_such_figures() -> None:
    assert ec.evaluate_upgrade(ALIGNER.plain, **SIDES, fitted_ids=FITTED).texts is None
