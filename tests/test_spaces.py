from __future__ import annotations

import pytest
from pydantic import ValidationError

from embcompat.errors import InputError, SpaceMismatchError, UnknownNameError
from embcompat.spaces import SpaceVersion, parse_space_id, require_space


def space(**changes: object) -> SpaceVersion:
    fields = {"name": "facenet", "version": "11", "dim": 128, "similarity": "euclidean", "modality": "face"}
    return SpaceVersion.model_validate({**fields, **changes})


def test_survives_json() -> None:
    one = space(fingerprint={"weights": "abc", "prompt": None, "truncate": 64})
    assert SpaceVersion.from_json(one.to_json()) == one
    assert one.id == "facenet@11"


@pytest.mark.parametrize(
    "changes",
    [{"dim": 0}, {"dim": 1.5}, {"dim": True}, {"name": "Face Net"}, {"version": ""}, {"similarity": "l2"}, {"size": 3}],
)
def test_refuses_bad_fields(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        space(**changes)


def test_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        space().dim = 64  # type: ignore[misc]


def test_equal_spaces_have_equal_hashes() -> None:
    assert len({space(), space(), space(version="12")}) == 2


@pytest.mark.parametrize("text", ["", "facenet", "facenet@", "@11"])
def test_space_ids_have_one_form(text: str) -> None:
    with pytest.raises(InputError, match="name@version"):
        parse_space_id(text)


def test_bad_json_names_where_and_what() -> None:
    with pytest.raises(InputError, match=r"old\.parquet is not a space version. dim: "):
        SpaceVersion.from_json('{"name": "a", "version": "1", "dim": -1}', where="old.parquet")
    with pytest.raises(InputError, match="not a space version"):
        SpaceVersion.from_json("{")


def test_the_same_space_passes_the_border() -> None:
    require_space(space(), space(), what="The gallery")


def test_the_border_shows_both_values_of_every_difference() -> None:
    result, expected = space(fingerprint={"prompt": "query: "}), space(dim=64, fingerprint={"prompt": ""})
    with pytest.raises(SpaceMismatchError, match=r"dim: 128 != 64; fingerprint.prompt: 'query: ' != ''") as caught:
        require_space(result, expected, what="The gallery")
    assert "loaded differently" in str(caught.value)
    with pytest.raises(SpaceMismatchError, match="aligner from facenet@11 to facenet@12"):
        require_space(space(), space(version="12"), what="The gallery")


def test_unknown_names_list_the_known_ones() -> None:
    assert str(UnknownNameError("aligner", "x", ["b", "a"])) == "There is no aligner called 'x'. Known: a, b."
    assert "Known: none" in str(UnknownNameError("aligner", "x", []))
