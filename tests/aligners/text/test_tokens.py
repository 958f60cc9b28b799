from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embcompat.aligners.text.tokens import is_unseparated, join_words, tokenize


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
    ],
)
def test_words_of_many_languages(text: str, words: list[str]) -> None:
    assert tokenize(text) == words


@given(st.text())
def test_words_are_not_empty_and_hold_no_space(text: str) -> None:
    for word in tokenize(text):
        assert word
        assert not any(character.isspace() for character in word)


@given(st.text(alphabet=st.characters(max_codepoint=127)), st.text(alphabet=st.characters(max_codepoint=127)))
def test_words_of_two_texts_are_the_words_of_both(left: str, right: str) -> None:
    assert tokenize(f"{left} é {right}") == [*tokenize(left), "é", *tokenize(right)]


def test_neighbours_are_joined_as_they_stood() -> None:
    assert join_words("heat", "flow") == "heat flow"
    assert join_words("東京", "京都") == "東京都"
    assert join_words("都", "に") == "都に"
    assert join_words("v", "は") == "v は"
    assert is_unseparated("東京")
    assert not is_unseparated("été")
