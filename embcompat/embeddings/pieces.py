"""Pieces of texts: more pairs out of the same items, and the ones that most resemble queries."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from embcompat.embeddings.pairs import PairedEmbeddings
from embcompat.embeddings.values import Embeddings
from embcompat.errors import InputError
from embcompat.files.validation import validate_strings

PIECE_WORDS = 16
"""Length of a piece, in words [ours]."""

UNSEPARATED = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u0f00-\u0fff"  # Tibetan
    "\u1000-\u109f"  # Burmese
    "\u1780-\u17ff"  # Khmer
    "\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff"  # Japanese kana and marks
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # Chinese characters
    "\U00020000-\U0003ffff"  # their extensions
)
"""Scripts that put no space between words, as ranges of a regular expression's character class."""


@dataclass(frozen=True)
class CutTexts:
    """Texts and their pieces, ready to be embedded with both models.

    Attributes:
        items: n texts: all whole ones, then the pieces.
        ids: n ids; piece 0 of the item ``a`` is ``a#0``.
        labels: n ids of the items that they belong to, so that `split_pairs` keeps an item and its pieces together.
    """

    items: list[str]
    ids: list[str]
    labels: list[str]

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"CutTexts(n={len(self)}, items={len(set(self.labels))})"


def cut_texts(texts: Sequence[str], ids: Sequence[str], *, words: int = PIECE_WORDS) -> CutTexts:
    """Cut each text into pieces of about ``words`` words, which stand behind the whole texts.

    Pieces of one text are equally long, to a word. A text that is hardly longer than one piece has none. Where a script
    puts no space between words, two characters count as a word. [ours]

    Args:
        texts: n texts.
        ids: n unique strings.
        words: Words in a piece.

    Raises:
        InputError: If ``words`` is not positive, ids and texts are not equally many, or an id repeats.

    Example:
        >>> cut = cut_texts(["to be or not to be"], ["hamlet"], words=3)
        >>> cut.items, cut.ids
        (['to be or not to be', 'to be or', 'not to be'], ['hamlet', 'hamlet#0', 'hamlet#1'])
    """
    if words < 1:
        raise InputError(f"words must be 1 or more. Got {words}.")
    names = validate_strings(ids, len(texts), what="ids", unique=True).tolist()
    pieces, piece_ids, owners = [], [], []
    for text, name in zip(texts, names, strict=True):
        for number, piece in enumerate(_cut(text, words)):
            pieces.append(piece)
            piece_ids.append(f"{name}#{number}")
            owners.append(name)
    return CutTexts([*texts, *pieces], [*names, *piece_ids], [*names, *owners])


def piece_rows(embeddings: Embeddings | PairedEmbeddings) -> NDArray[np.bool_]:
    """Return which rows (n,) are pieces that `cut_texts` cut: labelled ``a`` with the id ``a#`` and a number."""
    if embeddings.labels is None:
        return np.zeros(len(embeddings), dtype=bool)
    pairs = zip(embeddings.ids.tolist(), embeddings.labels.tolist(), strict=True)
    return np.fromiter(
        (
            identifier != label and identifier.startswith(f"{label}#") and identifier[len(label) + 1 :].isdecimal()
            for identifier, label in pairs
        ),
        dtype=bool,
        count=len(embeddings),
    )


def _cut(text: str, words: int) -> list[str]:
    spans = [match.span() for match in _units().finditer(text)]
    count = round(len(spans) / words)
    if count < 2:
        return []
    return [text[part[0][0] : part[-1][1]] for part in np.array_split(np.array(spans), count)]


@cache
def _units() -> re.Pattern[str]:
    return re.compile(rf"[{UNSEPARATED}]{{1,2}}|[^\s{UNSEPARATED}]+")
