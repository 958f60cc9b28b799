"""Count what the new model embeds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np

from embcompat.aligners.text.tokens import split_words
from embcompat.results import Workload
from embcompat.upgrade.cases import Galleries

_PIECE: Final = re.compile(r"(.+)#[0-9]+", flags=re.DOTALL)
"""The id of a piece that `embcompat.cut_texts` cut."""

_BIGRAM_WORDS = 2


def count_workload(galleries: Galleries, *, seconds_per_item: float | None = None) -> Workload:
    """Count what the new model embeds to fit the aligner, and in a full reindex.

    Words are counted where the gallery carries texts; a pair outside the gallery counts as an average item. [ours]

    Args:
        galleries: The galleries, and what was fitted.
        seconds_per_item: Time to embed one item.
    """
    gallery, artifact = galleries.old, galleries.artifact
    pairs = galleries.fitted if artifact is None else artifact.pair_ids()
    items = set(gallery.ids.tolist())
    named = ((piece, _PIECE.fullmatch(piece)) for piece in pairs - items)
    owners = {piece: match[1] for piece, match in named if match is not None and match[1] in pairs}
    whole = pairs - owners.keys()
    worded = gallery.texts is not None and any(gallery.texts)
    lengths = _count_words(gallery.texts.tolist()) if worded and gallery.texts is not None else np.ones(len(gallery))
    average = float(lengths.mean()) or 1.0
    length_of = dict(zip(gallery.ids.tolist(), lengths.tolist(), strict=True))
    encoder = None if galleries.text_aligner is None else galleries.text_aligner.encoder
    return Workload(
        unit="words" if worded else "items",
        items=len(gallery),
        gallery=average * len(gallery),
        pairs=sum(length_of.get(item, average) for item in whole),
        pieces=sum(length_of.get(item, average) for item in set(owners.values())),
        table=0 if encoder is None or not worded else len(encoder.words) + _BIGRAM_WORDS * len(encoder.bigrams),
        seconds_per_item=seconds_per_item,
    )


def _count_words(texts: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.bincount(split_words(texts).text_of, minlength=len(texts)).astype(np.float64)
