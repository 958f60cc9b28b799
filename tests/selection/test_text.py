"""The choice of parts; the aligner itself is tested with its room."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

import embcompat as ec
from embcompat.aligners import ReweightedAligner
from embcompat.aligners.text import TextAwareAligner, build_static_encoder
from embcompat.errors import InputError
from embcompat.selection import fit_text_aware

WORDS = [f"word{chr(97 + row)}" for row in range(20)]
NEW = ec.SpaceVersion(name="new", version="1", dim=10, normalized=True)
OLD = ec.SpaceVersion(name="old", version="1", dim=3, similarity="dot")


def new_model(texts: Sequence[str]) -> np.ndarray:
    table = {word: np.random.default_rng(row).standard_normal(NEW.dim) for row, word in enumerate(WORDS)}
    vectors = np.array([np.mean([table[word] for word in text.split()], axis=0) for text in texts])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def make_split(*, pieces: bool, informative: bool = True) -> tuple[ec.PairSplit, list[str]]:
    """Pairs whose texts tell what the old vectors lost; or, uninformative, other texts than those embedded."""
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, 12)) for _ in range(200)]
    ids = [f"item{row}" for row in range(len(texts))]
    cut = ec.cut_texts(texts, ids, words=4) if pieces else None
    items, names, labels = (cut.items, cut.ids, cut.labels) if cut else (texts, ids, None)
    target = new_model(items)
    source = target @ rng.standard_normal((NEW.dim, OLD.dim)) + 0.1 * rng.standard_normal((len(items), OLD.dim))
    output = items if informative else [" ".join(rng.choice(WORDS, 12)) for _ in items]
    pairs = ec.pair_embeddings(
        ec.Embeddings(source, names, OLD, labels, output), ec.Embeddings(target, names, NEW, labels)
    )
    return ec.split_pairs(pairs, test=0, seed=0), texts


@pytest.mark.parametrize("pieces", [False, True])
def test_words_are_kept_where_they_help(pieces: bool) -> None:
    split, texts = make_split(pieces=pieces)
    fit = fit_text_aware(split.train, split.validation, encoder=build_static_encoder(new_model, texts), landmarks=50)
    parts = {part.name: part for part in fit.parts}
    assert ("pieces" in parts) is ("reweighting" in parts) is pieces
    assert parts["words"].used
    assert parts["words"].gain is not None
    assert parts["words"].gain.low > 0
    assert isinstance(fit.aligner, TextAwareAligner)
    assert (len(fit.aligner.encoder.bigrams) > 0) == parts["bigrams"].used


def test_words_are_left_out_where_they_say_nothing() -> None:
    split, texts = make_split(pieces=False, informative=False)
    fit = fit_text_aware(split.train, split.validation, encoder=build_static_encoder(new_model, texts), landmarks=50)
    assert [(part.name, part.used) for part in fit.parts] == [("plain", True), ("words", False)]
    assert not isinstance(fit.aligner, TextAwareAligner)
    assert fit.unweighted is fit.aligner, "nothing was reweighted"


def test_unweighted_rows_stand_beside_native_ones() -> None:
    split, texts = make_split(pieces=True)
    fit = fit_text_aware(split.train, split.validation, encoder=build_static_encoder(new_model, texts), landmarks=50)
    assert fit.parts[-1].name == "reweighting"
    cosines = [
        np.sum(
            ec.convert_embeddings(aligner, split.validation.source, NEW).vectors * split.validation.target.vectors, 1
        )
        for aligner in (fit.unweighted, fit.aligner)
    ]
    if fit.parts[-1].used:
        assert cosines[0].mean() > cosines[1].mean(), "reweighting turns converted rows away from native ones"
    else:
        assert fit.unweighted is fit.aligner


def test_reweighting_is_centred_on_whole_held_out_items() -> None:
    split, texts = make_split(pieces=True)
    fit = fit_text_aware(split.train, split.validation, encoder=build_static_encoder(new_model, texts), landmarks=50)
    assert fit.parts[-1].used
    assert isinstance(fit.aligner, TextAwareAligner)
    assert isinstance(fit.held_out, TextAwareAligner)
    whole = split.validation.select([row for row, name in enumerate(split.validation.ids) if "#" not in name])
    plain = fit.held_out.plain
    assert isinstance(plain, ReweightedAligner)
    centre = plain.base.transform(whole.source.vectors).mean(axis=0)
    np.testing.assert_allclose(plain.bias, -plain.weight @ centre, atol=1e-5)
    assert np.linalg.norm(plain.bias) > 1e-3


def test_pairs_without_texts_are_refused() -> None:
    split, texts = make_split(pieces=False)
    encoder = build_static_encoder(new_model, texts)
    bare = ec.PairedEmbeddings(ec.Embeddings(split.train.source.vectors, split.train.ids, OLD), split.train.target)
    with pytest.raises(InputError, match="Only 0 of the .* train pairs have one"):
        fit_text_aware(bare, split.validation, encoder=encoder)
