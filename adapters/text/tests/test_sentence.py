from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from embcompat_text import SentenceTransformerExtractor
from embcompat_text.packaged import MINILM_WEIGHTS

from embcompat.errors import InputError

TEXTS = ["a short text", "a much longer text about something else " * 5, "ünïcode"]


@pytest.fixture(scope="module")
def folder() -> Path:
    return MINILM_WEIGHTS.locate(purpose="A test").parent


def copy(folder: Path, to: Path, *, without: tuple[str, ...] = (), **texts: str) -> Path:
    """Copy a model folder by links, leaving files out and replacing others."""
    for file in folder.rglob("*"):
        name = file.relative_to(folder)
        if file.is_file() and name.as_posix() not in without:
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            (to / name).symlink_to(file)
    for name, text in texts.items():
        (to / f"{name}.json").unlink()
        (to / f"{name}.json").write_text(text)
    return to


@pytest.fixture(scope="module")
def asymmetric(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the same model with a prompt for queries."""
    config = {"prompts": {"query": "find: ", "document": "text: "}, "default_prompt_name": "document"}
    return copy(folder, tmp_path_factory.mktemp("asymmetric"), config_sentence_transformers=json.dumps(config))


def make(folder: Path, **options: Any) -> SentenceTransformerExtractor:
    return SentenceTransformerExtractor(folder, device="cpu", **options)


def test_vectors_are_those_of_sentence_transformers(folder: Path, minilm: SentenceTransformerExtractor) -> None:
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    np.testing.assert_allclose(minilm.extract(TEXTS), reference.encode(TEXTS), atol=1e-6)
    prompted = make(folder, prompt="query: ")
    np.testing.assert_allclose(prompted.extract(TEXTS), reference.encode(TEXTS, prompt="query: "), atol=1e-6)


def test_the_space_says_what_the_model_is(folder: Path) -> None:
    space = make(folder).space
    weights = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    assert (space.id, space.dim, space.similarity, space.normalized) == (f"model@{weights[:12]}", 384, "cosine", True)
    assert space.fingerprint == {
        "weights": f"sha256:{weights}",
        "tokenizer": "sha256:be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        "modules": ["Transformer", "Pooling", "Normalize"],
        "pooling": "mean",
        "prompt": "",
        "max_length": 256,
        "truncate_dim": None,
        "normalize": True,
    }


def test_a_copy_in_another_folder_is_the_same_space(folder: Path, tmp_path: Path) -> None:
    first, second = (make(place, name="m", version="1").space for place in (folder, copy(folder, tmp_path / "copy")))
    assert first == second


def test_prompts_change_vectors_and_fingerprint(folder: Path, minilm: SentenceTransformerExtractor) -> None:
    prompted = make(folder, prompt="query: ", name="all-minilm", version="l6-v2")
    assert prompted.space.differences(minilm.space) == ["fingerprint.prompt: 'query: ' != ''"]
    assert (prompted.extract(TEXTS) * minilm.extract(TEXTS)).sum(axis=1).max() < 0.99


def test_both_sides_of_an_asymmetric_model_are_one_space(asymmetric: Path) -> None:
    query, document = make(asymmetric, encode="query"), make(asymmetric, encode="document")
    assert query.space == document.space
    assert query.space.fingerprint["prompt"] == {"query": "find: ", "document": "text: "}
    for side, prompt in ((query, "find: "), (document, "text: "), (make(asymmetric), "text: ")):
        plain = make(asymmetric, prompt="").extract([prompt + text for text in TEXTS])
        np.testing.assert_allclose(side.extract(TEXTS), plain, atol=1e-5)


def test_prompts_for_both_sides_can_be_given(folder: Path, asymmetric: Path) -> None:
    prompts = {"query": "find: ", "document": "text: "}
    with_prompts = make(folder, prompt=prompts, encode="query", name="m", version="1")
    with_defaults = make(asymmetric, encode="query", name="m", version="1")
    assert with_prompts.space == with_defaults.space
    np.testing.assert_allclose(with_prompts.extract(TEXTS), with_defaults.extract(TEXTS), atol=1e-6)


def test_sides_without_prompts_are_the_symmetric_space(folder: Path, minilm: SentenceTransformerExtractor) -> None:
    query = make(folder, encode="query", name="all-minilm", version="l6-v2")
    assert query.space == minilm.space
    np.testing.assert_allclose(query.extract(TEXTS), minilm.extract(TEXTS), atol=1e-6)


def test_truncation_keeps_the_first_numbers_at_unit_norm(folder: Path, minilm: SentenceTransformerExtractor) -> None:
    short = make(folder, truncate_dim=64)
    expected = minilm.extract(TEXTS)[:, :64]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(short.extract(TEXTS), expected, atol=1e-6)
    assert short.space.dim == short.space.fingerprint["truncate_dim"] == 64
    assert short.space.normalized


def test_a_very_long_text_is_cut_at_the_limit(minilm: SentenceTransformerExtractor) -> None:
    long = minilm.extract(["word " * 254, "word " * 254 + "tail", "word " * 100_000])
    np.testing.assert_allclose(long[1:], long[[0, 0]], atol=1e-6)


def test_what_a_user_should_know_of_a_model_and_its_texts(
    folder: Path, minilm: SentenceTransformerExtractor, tmp_path: Path
) -> None:
    limit = minilm.space.fingerprint["max_length"]
    long = minilm.notes(
        ["word " * (int(str(limit)) - 2), "word " * (int(str(limit)) - 1), " "]
    )  # and two special tokens
    assert long == [f"1 of 2 texts is longer than {limit} tokens; the rest of it is not read."]
    assert minilm.notes(TEXTS) == []
    config = {"prompts": {"query": "find: ", "document": "text: "}}
    unchosen = copy(folder, tmp_path, config_sentence_transformers=json.dumps(config))
    (note,) = make(unchosen).notes(TEXTS)
    assert note.startswith("The model treats queries and documents differently (query 'find: ', document 'text: ')")
    for options in ({"encode": "query"}, {"prompt": ""}, {"prompt": "x: "}):
        assert make(unchosen, **options).notes(TEXTS) == []


def test_no_texts(minilm: SentenceTransformerExtractor) -> None:
    assert minilm.extract([]).shape == (0, 384)


def test_pickled_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    pickled = copy(folder, tmp_path / "pickled", without=("model.safetensors",))
    (pickled / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(
        InputError, match="must be the folder of a sentence-transformers model with safetensors weights"
    ):
        make(pickled)
    beside = copy(folder, tmp_path / "beside")
    (beside / "2_Dense").mkdir()
    (beside / "2_Dense" / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(InputError, match="must hold its weights as safetensors. Got pickled weights in .*2_Dense"):
        make(beside)


def test_bad_arguments(folder: Path, tmp_path: Path) -> None:
    for options, message in (
        ({"truncate_dim": 400}, "truncate_dim must be at most 384, the length of the vectors. Got 400"),
        ({"truncate_dim": 0}, "truncate_dim must be a positive integer. Got 0"),
        ({"batch_size": 0}, "batch_size must be a positive integer. Got 0"),
        ({"encode": "passage"}, "encode must be 'query', 'document' or None. Got 'passage'"),
        ({"encode": "query", "prompt": "x"}, "prompt must be a mapping .* where encode is given. Got one string"),
        ({"prompt": {"query": "x", "document": "y"}}, "encode must be 'query' or 'document' where there is a prompt"),
        (
            {"prompt": {"query": "x"}, "encode": "query"},
            "prompt must be a string, or map query and document to strings",
        ),
    ):
        with pytest.raises(InputError, match=message):
            make(folder, **options)
    with pytest.raises(InputError, match="must be the folder of a sentence-transformers model"):
        make(tmp_path)


def test_a_model_from_the_hub_has_the_digest_of_its_files(
    folder: Path, minilm: SentenceTransformerExtractor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hub cache as a download leaves it; nothing is fetched."""
    commit = "c9745ed1d9f207416be6d2e6f8de32d1f16199bf"
    cached = tmp_path / "models--someone--Some-Model"
    copy(folder, cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for revision in (None, commit):
        space = SentenceTransformerExtractor("someone/Some-Model", device="cpu", revision=revision).space
        assert space.id == "some-model@53aa51172d14"
        assert space.fingerprint == minilm.space.fingerprint
    with pytest.raises(InputError, match="'someone/else' must be the folder .* or its name on the hub"):
        SentenceTransformerExtractor("someone/else", device="cpu")
