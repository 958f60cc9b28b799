"""Words of texts in any language."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from embcompat.embeddings.pieces import UNSEPARATED

_OTHER, _LETTER, _DIGIT, _UNSEPARATED, _MARK = range(5)
_UPPER = 8  # is added to _LETTER: what ASCII capitals are, at which a hump begins

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_IGNORABLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200c-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
"""Unicode's Default_Ignorable_Code_Point but for the zero-width space, which separates words."""

_JOINERS = "\u200c\u200d"  # the zero-width non-joiner and joiner
_VIRAMA = 9  # the combining class of what joins two consonants of an Indic script

_LAST_CODE = 0x40000  # above it no character is part of a word


@dataclass(frozen=True)
class Words:
    """The words of n texts, as places in one array of characters.

    Attributes:
        codes: The characters of all texts in lower case, uint8 or uint32; a line feed ends each text.
        starts: Place of each word's first character (words,).
        ends: Place after each word's last character (words,).
        text_of: Number of each word's text (words,), ascending.
    """

    codes: NDArray[np.uint8] | NDArray[np.uint32]
    starts: NDArray[np.intp]
    ends: NDArray[np.intp]
    text_of: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.starts)


def tokenize(text: str) -> list[str]:
    """Split a text into lower-case words [ours].

    A word is a run of letters, or a run of digits; identifiers are split where a hump, an underscore or a digit begins
    a new part. Scripts that put no space between words (Chinese, Japanese, Thai, Lao, Khmer, Burmese) give every
    two neighbouring characters. Compatibility forms are made plain first (Unicode NFKC). What no reader sees (soft
    hyphens, byte order marks, direction marks, variation selectors) is left out and splits no word; a zero-width space
    does. The zero-width joiner and non-joiner stay where they spell a word: the non-joiner between two letters of a
    cursive script such as Persian, both beside the virama of an Indic script (after rules A1, A2 and B of Unicode
    Standard Annex 31); elsewhere they are left out too.

    Example:
        >>> tokenize("parseHTTPHeader(max_size=2048)")
        ['parse', 'http', 'header', 'max', 'size', '2048']
        >>> tokenize("L'été à Zürich")
        ['l', 'été', 'à', 'zürich']
        >>> tokenize("机器学习 v2")
        ['机器', '器学', '学习', 'v', '2']
    """
    words = split_words([text])
    characters = words.codes.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")
    return [characters[start:end] for start, end in zip(words.starts.tolist(), words.ends.tolist(), strict=True)]


def split_words(texts: Sequence[str]) -> Words:
    """Split texts into words as `tokenize` does, all at once.

    Args:
        texts: n texts.
    """
    plain = _plain_texts(texts)
    joined = "\n".join([*plain, ""])
    codes: NDArray[np.uint8] | NDArray[np.uint32]
    if joined.isascii():
        characters = joined.encode("ascii")
        codes = np.frombuffer(characters, np.uint8)
        kinds = np.frombuffer(characters.translate(_kinds()[:256].tobytes()), np.uint8)
    else:
        codes = _codes(joined)
        kinds = _kinds()[np.minimum(codes, _LAST_CODE)]
    starts, ends = _runs(kinds)
    starts, ends = _neighbours(starts, ends, kinds)
    codes = codes | ((kinds == _LETTER + _UPPER) * np.uint8(32))
    text_starts = np.cumsum([0, *(len(text) + 1 for text in plain)])
    counts = np.diff(np.searchsorted(starts, text_starts))
    return Words(codes, starts, ends, np.repeat(np.arange(len(texts)), counts))


def join_words(first: str, second: str) -> str:
    """Return two neighbouring words as they stand in a text.

    Example:
        >>> join_words("boundary", "layer"), join_words("机器", "器学")
        ('boundary layer', '机器学')
    """
    if is_unseparated(first) and is_unseparated(second):
        overlap = len(first) > 1 and first[-1] == second[0]
        return first + (second[1:] if overlap else second)
    return f"{first} {second}"


def is_unseparated(word: str) -> bool:
    """Return whether a word is of a script that puts no space between words."""
    return not word.isascii() and _unseparated_start().match(word) is not None


def _codes(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint32, copy=False)


def _plain_texts(texts: Sequence[str]) -> list[str]:
    """Leave out what no reader sees, split humps, make compatibility forms plain, and lower the case.

    All of it where a text is not ASCII; the words of an ASCII text are found without.
    """
    plain = list(texts)
    rows = [row for row, text in enumerate(plain) if not text.isascii()]
    if not rows:
        return plain
    codes = np.minimum(_codes("\n".join(["", *(plain[row] for row in rows)])), _LAST_CODE)
    kinds = _kinds()[codes]
    upper, lower = kinds == _LETTER + _UPPER, (kinds == _LETTER) | (kinds == _DIGIT)
    places = np.flatnonzero(_hidden()[codes[1:]] | _humps(upper, lower, kinds == _LETTER))
    ends = np.cumsum([len(plain[row]) + 1 for row in rows])
    for number in np.unique(np.searchsorted(ends, places + 1, side="right")).tolist():
        visible = _IGNORABLE.sub(_spelled_joiner, plain[rows[number]])
        # A zero-width space would hide a word's end from lower.
        plain[rows[number]] = _HUMP.sub(" ", visible.replace("\u200b", " "))
    for row in rows:
        plain[row] = unicodedata.normalize("NFKC", plain[row]).lower()
    return plain


def _spelled_joiner(run: re.Match[str]) -> str:
    """Return the joiner of a run of ignorable characters where it spells a word, and nothing elsewhere."""
    joiner = next((character for character in run[0] if character in _JOINERS), "")
    left = run.string[max(0, run.start() - 1) : run.start()]
    right = run.string[run.end() : run.end() + 1]
    if not joiner or is_unseparated(left + right):
        return ""
    if any(unicodedata.combining(side) == _VIRAMA for side in left + right):
        return joiner
    cursive = [unicodedata.bidirectional(side) if side else "" for side in (left, right)]
    return joiner if joiner == _JOINERS[0] and cursive[0] in ("AL", "NSM") and cursive[1] == "AL" else ""


def _runs(kinds: NDArray[np.uint8]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return start and end of each run of letters, of digits or of unseparated characters."""
    upper = kinds >= _UPPER
    group = kinds & np.uint8(_UPPER - 1)
    if (marks := group == _MARK).any():  # a mark belongs to the letters before it, and is none of its own elsewhere
        last = np.maximum.accumulate(np.where(marks, 0, np.arange(len(group))))
        group = np.where(marks, np.where(group[last] == _LETTER, _LETTER, _OTHER), group).astype(np.uint8)
    begins = np.empty(len(group) + 1, dtype=bool)
    begins[0] = begins[-1] = True
    np.not_equal(group[1:], group[:-1], out=begins[1:-1])
    if upper.any():
        lower = (group != _OTHER) & (group != _UNSEPARATED) & ~upper
        begins[1:-1] |= _humps(upper, lower, lower & (group == _LETTER))
    words = group != _OTHER
    return np.flatnonzero(begins[:-1] & words), np.flatnonzero(begins[1:] & words) + 1


def _humps(upper: NDArray[np.bool_], lower: NDArray[np.bool_], letters: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return whether a new part of an identifier begins at each character but the first.

    Args:
        upper: ASCII capitals (n,).
        lower: What a capital ends: other letters, and digits.
        letters: The letters among those.
    """
    humps = np.asarray(upper[1:] & lower[:-1])
    humps[:-1] |= upper[1:-1] & upper[:-2] & letters[2:]
    return humps


def _neighbours(
    starts: NDArray[np.intp], ends: NDArray[np.intp], kinds: NDArray[np.uint8]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Replace runs of unseparated characters by every two neighbouring ones."""
    runs = (kinds[starts] == _UNSEPARATED) & (ends - starts > 1)
    if not runs.any():
        return starts, ends
    counts = np.where(runs, ends - starts - 1, 1)
    run_of = np.repeat(np.arange(len(starts)), counts)
    places = np.arange(len(run_of)) - np.repeat(np.cumsum(counts) - counts, counts)
    first = starts[run_of] + places
    return first, np.where(runs[run_of], first + 2, ends[run_of])


@cache
def _kinds() -> NDArray[np.uint8]:
    """Return what each character is, by its code."""
    kinds = np.zeros(_LAST_CODE + 1, dtype=np.uint8)
    for code in range(0x20000):
        character = chr(code)
        if _unseparated_start().match(character):
            kinds[code] = _UNSEPARATED
        elif character.isdecimal():
            kinds[code] = _DIGIT
        elif character.isalnum():
            kinds[code] = _LETTER + (_UPPER if "A" <= character <= "Z" else 0)
        elif (unicodedata.category(character) in ("Mn", "Mc") and code < 0x3000) or character in _JOINERS:
            kinds[code] = _MARK
    kinds[0x20000:_LAST_CODE] = _UNSEPARATED
    return kinds


@cache
def _hidden() -> NDArray[np.bool_]:
    """Return whether no reader sees a character, by its code; what is above the last one may be such."""
    characters = "".join(map(chr, range(_LAST_CODE)))
    hidden = np.zeros(_LAST_CODE + 1, dtype=bool)
    for run in re.finditer(f"{_IGNORABLE.pattern}|\u200b", characters):
        hidden[run.start() : run.end()] = True
    hidden[_LAST_CODE] = True
    return hidden


@cache
def _unseparated_start() -> re.Pattern[str]:
    return re.compile(f"[{UNSEPARATED}]")
