from __future__ import annotations

import re
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embcompat.aligners.text.lookup import HashIndex, hash_words
from embcompat.aligners.text.tokens import is_unseparated, join_words, split_words, tokenize
from embcompat.embeddings.pieces import UNSEPARATED

HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
MARKS = "".join(
    chr(code)
    for code in range(0x300, 0x3000)
    if unicodedata.category(chr(code)) in ("Mn", "Mc") and not re.match(f"[{UNSEPARATED}]", chr(code))
)
LETTERS = rf"[^\W\d_{UNSEPARATED}]"
WORDS = re.compile(rf"[{UNSEPARATED}]+|\d+|{LETTERS}(?:{LETTERS}|[{MARKS}])*")


def words_of(text: str) -> list[str]:
    """The same words, found by a regular expression."""
    words: list[str] = []
    for run in WORDS.findall(unicodedata.normalize("NFKC", HUMP.sub(" ", text)).lower()):
        if len(run) > 1 and re.match(f"[{UNSEPARATED}]", run):
            words += [run[start : start + 2] for start in range(len(run) - 1)]
        else:
            words.append(run)
    return words


UNSEEN = (
    0x34F,
    0x115F,
    0x1160,
    0x17B4,
    0x17B5,
    0x3164,
    0xFFA0,
    *range(0x180B, 0x1810),
    *range(0xFE00, 0xFE10),
    *range(0xFFF0, 0xFFF9),
    0x2065,
    *range(0xE0000, 0xE1000),
)
SAMPLE = st.text(alphabet="aAbBzZ09_ -.\n\u0301éÉßΣς机器ไทย\u0e31ｗ½²①हि\u0130\ud800\U00020001\U0010ffff")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("The boundary-layer, 2nd ed.", ["the", "boundary", "layer", "2", "nd", "ed"]),
        ("numpy.linalg.eigvalsh(a, UPLO='L')", ["numpy", "linalg", "eigvalsh", "a", "uplo", "l"]),
        ("getHTTPResponse", ["get", "http", "response"]),
        ("snake_case_v2", ["snake", "case", "v", "2"]),
        ("Grüße, naïve", ["grüße", "naïve"]),
        ("e\u0301te\u0301", ["été"]),  # NFKC joins a letter and its mark
        ("ﬁne ｗｉｄｅ", ["fine", "wide"]),
        ("Привет мир", ["привет", "мир"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),  # vowel signs are marks, and no part of Python's \w
        ("بيت العلم", ["بيت", "العلم"]),
        ("한국어 단어", ["한국어", "단어"]),
        ("東京都に住む", ["東京", "京都", "都に", "に住", "住む"]),
        ("学", ["学"]),
        ("ภาษาไทย", ["ภา", "าษ", "ษา", "าไ", "ไท", "ทย"]),
        ("v2は", ["v", "2", "は"]),
        ("😀 — ©", []),
        ("co\u00adope\u00adration", ["cooperation"]),  # soft hyphens
        ("\ufeffword\u2060joiner", ["wordjoiner"]),  # a byte order mark, a word joiner
        ("\u200fשלום\u200e עולם", ["שלום", "עולם"]),  # direction marks
        ("get\u00adHTTP", ["get", "http"]),
        ("葛\U000e0100城", ["葛城"]),  # a variation selector
        ("ไทย\u200bไทย", ["ไท", "ทย", "ไท", "ทย"]),  # a zero-width space separates words
        ("zero\u200bwidth", ["zero", "width"]),
        ("B\u200bΣ ΛΌΓΟΣ", ["b", "σ", "λόγος"]),
        (
            "می\u200cروم به خانه\u200cها",
            ["می\u200cروم", "به", "خانه\u200cها"],
        ),  # Persian: the non-joiner spells the word
        ("خانهٔ\u200cما", ["خانهٔ\u200cما"]),
        ("ه\u200d. می\u200c", ["ه", "می"]),  # at the end of a word it spells nothing
        ("क्\u200dष क्\u200cष", ["क्\u200dष", "क्\u200cष"]),  # beside a virama both are spelled
        ("ශ්\u200dරී", ["ශ්\u200dරී"]),
        ("র\u200d্য", ["র\u200d্য"]),  # Bengali: before the virama
        ("कर\u200cता", ["करता"]),  # and not elsewhere
        ("auf\u200clage wo\u200drd", ["auflage", "word"]),
        ("可\u200c能", ["可能"]),
        ("👩\u200d💻 coder", ["coder"]),
        ("\u200c\u200d\u00ad", []),
        ("\u115fword é", ["word", "é"]),  # a filler at the very beginning
    ],
)
def test_words_of_many_languages(text: str, words: list[str]) -> None:
    assert tokenize(text) == words


HIDDEN = "\u00ad\u034f\u061c\u115f\u180e\u200c\u200d\u200e\u202e\u2060\u2064\u3164\ufe0f\ufeff\uffa0\U000e0061"
VISIBLE = st.text(alphabet="aBz9_ -éßΣя机ทक\u200b")


@given(st.lists(st.tuples(VISIBLE, st.text(alphabet=HIDDEN))))
def test_what_no_reader_sees_changes_no_word(parts: list[tuple[str, str]]) -> None:
    output = "".join(text for text, _ in parts)
    assert tokenize("".join(text + hidden for text, hidden in parts)) == tokenize(output)
    assert tokenize(output) == tokenize(output.replace("\u200b", " "))


@given(st.text())
def test_words_are_not_empty_and_hold_no_space(text: str) -> None:
    for word in tokenize(text):
        assert word
        assert not any(character.isspace() for character in word)


@given(st.text(alphabet=st.characters(max_codepoint=127)), st.text(alphabet=st.characters(max_codepoint=127)))
def test_words_of_two_texts_are_the_words_of_both(left: str, right: str) -> None:
    assert tokenize(f"{left} é {right}") == [*tokenize(left), "é", *tokenize(right)]


SEEN = st.characters(exclude_categories=("Cf", "Cs"), exclude_characters="".join(map(chr, UNSEEN)))


@given(st.one_of(st.text(alphabet=SEEN), SAMPLE, st.text(alphabet="abXYZ019_ ")))
def test_a_regular_expression_finds_the_same_words(text: str) -> None:
    assert tokenize(text) == words_of(text)


@given(st.lists(st.one_of(SAMPLE, st.text(alphabet="abXYZ01_ é"), st.text(alphabet="aé" + HIDDEN)), max_size=6))
def test_many_texts_give_the_words_of_each(texts: list[str]) -> None:
    words = split_words(texts)
    characters = "".join(map(chr, words.codes.tolist()))
    places = zip(words.text_of.tolist(), words.starts.tolist(), words.ends.tolist(), strict=True)
    assert [(row, characters[start:end]) for row, start, end in places] == [
        (row, word) for row, text in enumerate(texts) for word in words_of(without_hidden(text))
    ]


def without_hidden(text: str) -> str:
    """The text without those of the hidden characters that spell no word between letters of Latin script."""
    return re.sub(f"[{HIDDEN}]", "", text)


@given(st.lists(st.lists(SAMPLE, min_size=1, max_size=3), min_size=2, max_size=2))
def test_a_word_has_one_hash_in_any_text(sides: list[list[str]]) -> None:
    known: dict[str, int] = {}
    for texts in sides:
        names = [word for text in texts for word in words_of(text)]
        for word, digest in zip(names, hash_words(split_words(texts)).tolist(), strict=True):
            assert known.setdefault(word, digest) == digest
    assert len(set(known.values())) == len(known)


@given(st.lists(st.integers(0, 2**64 - 1), unique=True, max_size=300), st.lists(st.integers(0, 2**64 - 1), max_size=30))
def test_an_index_finds_what_a_dictionary_finds(keys: list[int], others: list[int]) -> None:
    row_of = {key: row for row, key in enumerate(keys)}
    queries = [*others, *keys, *(key + 1 for key in keys if key < 2**64 - 1)]
    rows = HashIndex(np.array(keys, dtype=np.uint64)).find(np.array(queries, dtype=np.uint64))
    assert rows.tolist() == [row_of.get(key, -1) for key in queries]


def test_neighbours_are_joined_as_they_stood() -> None:
    assert join_words("heat", "flow") == "heat flow"
    assert join_words("東京", "京都") == "東京都"
    assert join_words("都", "に") == "都に"
    assert join_words("v", "は") == "v は"
    assert is_unseparated("東京")
    assert not is_unseparated("été")
