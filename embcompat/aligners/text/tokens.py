"""Words of a text in any language."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from embcompat.embeddings.pieces import UNSEPARATED

_ASCII_WORDS = re.compile(r"[a-z]+|[0-9]+")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_HUMP_START = re.compile(r"[a-z0-9][A-Z]|[A-Z]{2}[a-z]")


def tokenize(text: str) -> list[str]:
    """Split a text into lower-case words [ours].

    A word is a run of letters, or a run of digits; identifiers are split where a hump, an underscore or a digit begins
    a new part. Scripts that put no space between words (Chinese, Japanese, Thai, Lao, Khmer, Burmese) give every
    two neighbouring characters. Compatibility forms are made plain first (Unicode NFKC).

    Example:
        >>> tokenize("parseHTTPHeader(max_size=2048)")
        ['parse', 'http', 'header', 'max', 'size', '2048']
        >>> tokenize("L'été à Zürich")
        ['l', 'été', 'à', 'zürich']
        >>> tokenize("机器学习 v2")
        ['机器', '器学', '学习', 'v', '2']
    """
    if _HUMP_START.search(text):
        text = _HUMP.sub(" ", text)
    if text.isascii():
        return _ASCII_WORDS.findall(text.lower())
    words: list[str] = []
    for run in _unicode_words().findall(unicodedata.normalize("NFKC", text).lower()):
        if len(run) > 1 and is_unseparated(run):
            words += [run[start : start + 2] for start in range(len(run) - 1)]
        else:
            words.append(run)
    return words


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


@cache
def _unseparated_start() -> re.Pattern[str]:
    return re.compile(f"[{UNSEPARATED}]")


@cache
def _unicode_words() -> re.Pattern[str]:
    """Match runs of unseparated characters, of digits, and of letters with the marks that stand on them."""
    marks = _mark_ranges()
    letters = rf"[^\W\d_{UNSEPARATED}]"
    return re.compile(rf"[{UNSEPARATED}]+|\d+|{letters}(?:{letters}|[{marks}])*")


def _mark_ranges() -> str:
    """Return the combining marks as ranges of a character class: Python's word characters leave them out.

    Beyond U+3000 are the unseparated scripts, and marks of scripts that nobody writes any more.
    """
    ranges: list[list[int]] = []
    for code in range(0x300, 0x3000):
        if unicodedata.category(chr(code)) in ("Mn", "Mc"):
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return "".join(f"\\u{first:04x}-\\u{last:04x}" for first, last in ranges)
