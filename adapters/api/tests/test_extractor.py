from __future__ import annotations

import json
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from embcompat_api import OpenAIExtractor
from starlette.responses import JSONResponse, Response

from embcompat.embeddings import Embeddings
from embcompat.errors import ExtractionError, InputError, ServiceError, SpaceMismatchError
from embcompat.extractors import CANARY_TEXTS, extract_embeddings, load_extractor
from embcompat.spaces import require_space
from embcompat.testing.extractors import check_extractor

TEXTS = [f"text number {number} of a small collection" for number in range(40)]
KEY = "sk-test-1234567890abcdef"


def fault(status: int, message: str, wait: str | None = None) -> JSONResponse:
    return JSONResponse({"error": {"message": message}}, status, headers={} if wait is None else {"retry-after": wait})


def make(service: Any, model: str = "own", **options: Any) -> OpenAIExtractor:
    return OpenAIExtractor(service.models[model], base_url=service.url, **{"retries": 2, **options})


def test_it_is_an_extractor_and_gives_what_the_model_gives(service: Any) -> None:
    extractor = load_extractor("openai", service.models["own"], base_url=service.url)
    check_extractor(extractor, TEXTS[:5])
    native = load_extractor("static64")
    np.testing.assert_allclose(extractor.extract(TEXTS), native.extract(TEXTS), atol=1e-6)
    space = extractor.space
    assert (space.dim, space.normalized, space.modality, space.version) == (64, True, "text", "64d")
    assert {name: space.fingerprint[name] for name in ("service", "model", "dimensions", "prompt")} == {
        "service": "127.0.0.1",
        "model": native.space.id,
        "dimensions": None,
        "prompt": "",
    }


def test_requests_hold_so_many_texts_and_tokens(service: Any) -> None:
    make(service, batch_size=16).extract(TEXTS)
    assert [len(texts) for texts in service.requests] == [3, 16, 16, 8]
    service.reset()
    extractor = make(service, batch_tokens=30)
    assert extractor.estimate(TEXTS).requests == 20
    extractor.extract(TEXTS)
    assert [len(texts) for texts in service.requests] == [3, *[2] * 20]


def test_prompts_of_both_sides_are_one_space(service: Any) -> None:
    prompts = {"query": "find: ", "document": "this: "}
    query, document = (make(service, prompt=prompts, encode=side) for side in ("query", "document"))
    assert query.space == document.space
    service.reset()
    query.extract(["a stone"])
    assert service.requests == [["find: a stone"]]
    assert query.space != make(service).space


@pytest.mark.parametrize("passing", [429, 500, 503])
def test_faults_that_pass_are_waited_for(service: Any, passing: int) -> None:
    extractor = make(service)
    service.faults.extend([fault(passing, "later", "0.01"), None])
    np.testing.assert_allclose(extractor.extract(TEXTS[:2]), load_extractor("static64").extract(TEXTS[:2]), atol=1e-6)
    assert len(service.requests) == 3


def test_a_timeout_is_tried_again(service: Any) -> None:
    extractor = make(service, timeout_seconds=0.5)
    service.faults.append(1.0)
    assert extractor.extract(TEXTS[:2]).shape == (2, 64)
    service.faults.extend([1.0, 1.0, 1.0])
    with pytest.raises(ServiceError, match=r"127\.0\.0\.1 did not answer in time"):
        extractor.extract(TEXTS[:2])


def test_a_rate_limit_that_does_not_pass_loses_nothing(service: Any, tmp_path: Path) -> None:
    parts, skipped = tmp_path / "parts", []
    extractor = make(service, batch_size=8, retries=0)
    service.faults.extend([None, None, fault(429, "slow down", "600")])
    with pytest.raises(ServiceError, match="answered 429: slow down. It asks to wait 600 s. Run the same again"):
        extract_embeddings(extractor, TEXTS, parts=parts, on_skip=skipped.append)
    assert skipped == []  # an outage is no item's fault
    service.reset()
    vectors = extract_embeddings(make(service, batch_size=8), TEXTS, parts=parts).vectors
    assert sorted(text for texts in service.requests[1:] for text in texts) == sorted(TEXTS[16:])
    np.testing.assert_allclose(vectors, load_extractor("static64").extract(TEXTS), atol=1e-6)


def test_a_call_that_breaks_off_keeps_the_requests_before(service: Any, tmp_path: Path) -> None:
    extractor = make(service, batch_tokens=30, retries=0)  # several requests in one call
    service.faults.extend([None, None, None, fault(503, "down")])
    with pytest.raises(ServiceError, match="answered 503: down. Run the same again later") as caught:
        extract_embeddings(extractor, TEXTS, parts=tmp_path / "parts")
    assert caught.value.vectors is not None
    assert caught.value.vectors.shape == (6, 64)
    service.reset()
    extract_embeddings(extractor, TEXTS, parts=tmp_path / "parts")
    assert sum(len(texts) for texts in service.requests) == 34


def test_parts_of_a_model_that_changed_are_not_used(service: Any, tmp_path: Path) -> None:
    parts, name = tmp_path / "parts", {"name": "m", "version": "1"}

    def asked(model: str) -> int:
        service.reset()
        service.change = None if model == "own" else turn
        extract_embeddings(make(service, **name), TEXTS, parts=parts)
        return sum(len(texts) for texts in service.requests[1:])

    def turn(answer: dict[str, Any]) -> Any:
        for entry in answer["data"]:
            entry["embedding"] = entry["embedding"][::-1]
        return answer

    assert [asked("own"), asked("own"), asked("turned"), asked("turned"), asked("own")] == [40, 0, 40, 0, 40]


def test_the_spend_cap_ends_the_run_before_a_request(service: Any, tmp_path: Path) -> None:
    budget = {"price": 1e6, "max_cost": 300.0, "batch_size": 8}  # a token costs 1
    with pytest.raises(ServiceError, match="max_cost is 300. Nothing more was asked"):
        extract_embeddings(make(service, **budget), TEXTS, parts=tmp_path / "parts")
    sent = sum(len(texts) for texts in service.requests[1:])
    assert 0 < sent < 40
    service.reset()
    extract_embeddings(make(service), TEXTS, parts=tmp_path / "parts")
    assert sum(len(texts) for texts in service.requests[1:]) == 40 - sent
    with pytest.raises(ServiceError, match="max_cost"):
        make(service, price=1e6, max_cost=1.0)  # the canary costs, too


def test_a_text_that_is_refused_is_found_and_named(service: Any) -> None:
    extractor = make(service, batch_size=16)
    texts = [*TEXTS[:12], "  ", *TEXTS[12:20], "too long"]
    service.refused = "too long"
    with pytest.raises(ExtractionError, match=r"item '12' \(row 12\) cannot be embedded: a text must not be empty"):
        extract_embeddings(extractor, texts)
    skipped: list[Any] = []
    embeddings = extract_embeddings(extractor, texts, on_skip=skipped.append)
    assert [item.row for item in skipped] == [12, 21]
    assert "refuses the text (400): maximum context length is 8192 tokens." in skipped[1].reason
    np.testing.assert_allclose(embeddings.vectors, load_extractor("static64").extract(TEXTS[:20]), atol=1e-6)


def answered(data: list[tuple[int, Any]]) -> Response:
    entries = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in data]
    body = {"object": "list", "model": "m", "data": entries, "usage": {"prompt_tokens": 1, "total_tokens": 1}}
    return Response(json.dumps(body), media_type="application/json")


ONES = [0.125] * 64


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([(0, ONES)], "one vector for each of 2 texts, numbered from 0. Got 1 with the numbers 0"),
        ([(0, ONES), (0, ONES)], "Got 2 with the numbers 0. Nothing was joined"),
        ([(1, ONES), (2, ONES)], "numbers 1, 2"),
        ([(0, ONES), (1, ONES), (2, ONES)], "Got 3"),
        ([(0, ONES), (1, [0.125] * 63)], "vectors of 64 numbers. Got 63, 64. The model behind its name has changed"),
        ([(0, [1.0] * 128), (1, [1.0] * 128)], "Got 128"),
        ([(0, ONES), (1, ["a"] * 64)], "lists of numbers"),
        ([(0, ONES), (1, None)], "must answer"),
    ],
)
def test_wrong_answers_are_errors_in_words(service: Any, answer: list[tuple[int, Any]], message: str) -> None:
    extractor = make(service)
    service.faults.append(answered(answer))
    with pytest.raises(ServiceError, match=message):
        extractor.extract(TEXTS[:2])


@pytest.mark.parametrize("answer", [Response("hello"), Response("{}", media_type="application/json"), answered([])])
def test_what_is_no_answer(service: Any, answer: Response) -> None:
    extractor = make(service)
    service.faults.append(answer)
    with pytest.raises(ServiceError, match=r"127\.0\.0\.1"):
        extractor.extract(TEXTS[:2])


def test_order_is_by_index(service: Any) -> None:
    expected = make(service).extract(TEXTS[:5])
    service.change = lambda answer: {**answer, "data": answer["data"][::-1]}
    np.testing.assert_allclose(make(service).extract(TEXTS[:5]), expected, atol=1e-6)


@pytest.mark.parametrize("bad", [[float("nan")] * 64, [0.0] * 64])
def test_nan_and_zeros_are_no_vectors(service: Any, bad: list[float]) -> None:
    extractor = make(service)
    service.faults.append(answered([(0, ONES), (1, bad)]))
    skipped: list[Any] = []
    extract_embeddings(extractor, TEXTS[:2], on_skip=skipped.append)
    assert [item.row for item in skipped] == [1]
    service.faults.append(answered([(0, ONES), (1, bad), (2, ONES)]))
    with pytest.raises(ServiceError, match="finite numbers, not all zero"):
        make(service)


def test_jitter_is_one_space_and_a_changed_model_another(service: Any) -> None:
    first = make(service).space
    random = np.random.default_rng(0)

    def jitter(size: float) -> Any:
        def change(answer: dict[str, Any]) -> Any:
            for entry in answer["data"]:
                vector = np.array(entry["embedding"])
                noise = random.standard_normal(64)
                entry["embedding"] = (vector + noise * size / np.linalg.norm(noise)).tolist()
            return answer

        return change

    service.change = jitter(1e-4)
    jittery = make(service)
    assert jittery.space == first
    assert jittery.space.fingerprint["canary"] != first.fingerprint["canary"]
    require_space(jittery.space, first, what="The model")
    with pytest.raises(AssertionError, match="same vectors twice"):
        check_extractor(jittery, TEXTS[:4], tolerance=1e-6)
    check_extractor(jittery, TEXTS[:4], tolerance=1e-3)
    service.change = jitter(1.0)
    with pytest.raises(SpaceMismatchError, match=r"fingerprint\.canary: vectors of fixed texts differ by \d+%"):
        require_space(make(service, name=first.name).space, first, what="The model")


def test_options_that_the_service_or_we_refuse(service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="cannot be used with these options.*dimensions must be 64"):
        make(service, dimensions=32)
    with pytest.raises(ServiceError, match="answered 404: model must be one of.*Check the name of the model"):
        OpenAIExtractor("nobody", base_url=service.url)
    with pytest.raises(InputError, match="base_url must be an address"):
        OpenAIExtractor("m", base_url="api.example/v1")
    with pytest.raises(InputError, match="must hold no user, password or key") as caught:
        OpenAIExtractor("m", base_url=f"https://me:{KEY}@api.example/v1")
    assert KEY not in str(caught.value)
    with pytest.raises(InputError, match="environment variable OPENAI_API_KEY"):
        OpenAIExtractor("text-embedding-3-small")
    with pytest.raises(InputError, match="batch_size must be a positive integer. Got 0"):
        make(service, batch_size=0)
    with pytest.raises(ServiceError, match="cannot be reached"):
        OpenAIExtractor("m", base_url="http://127.0.0.1:9/v1", retries=0)
    monkeypatch.setenv("OPENAI_BASE_URL", service.url)
    assert OpenAIExtractor(service.models["own"]).space == make(service).space


def test_the_key_reaches_the_service_and_nothing_else(service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    extractor = make(service, key_variable="MY_KEY", retries=0)
    assert service.keys == [f"Bearer {KEY}"]
    assert KEY not in extractor.space.to_json() + repr(extractor)
    service.faults.append(fault(401, f"Incorrect API key provided: {KEY}."))
    with pytest.raises(ServiceError, match=r"answered 401: Incorrect API key provided: \*\*\*.*MY_KEY") as caught:
        extractor.extract(TEXTS[:1])
    assert KEY not in "".join(traceback.format_exception(caught.value))


def test_from_the_command_line_to_a_changed_model(service: Any, tmp_path: Path) -> None:
    texts, out = tmp_path / "texts.jsonl", tmp_path / "new.parquet"
    texts.write_text("".join(json.dumps({"id": f"t{row}", "text": text}) + "\n" for row, text in enumerate(TEXTS)))
    model = ["-e", "openai", "-m", service.models["own"], "--option", f"base-url={service.url}"]

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "embcompat", *words, *model]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    service.faults.extend([None, None, fault(429, "quota", "600")])
    embed = ["embed", str(texts), "--out", str(out), "--batch-size", "16", "--option", "price=0.02", "--option"]
    stopped = run(*embed, "retries=0")
    assert stopped.returncode == 1
    assert "answered 429" in " ".join(stopped.stderr.split())
    assert "tokens in 3 requests, a cost of about" in " ".join(stopped.stderr.split())
    assert run(*embed, "retries=0").returncode == 0
    assert sorted(len(texts) for texts in service.requests) == [3, 3, 8, 16, 16, 16]
    assert list(Embeddings.load(out).ids) == [f"t{row}" for row in range(40)]

    service.change = lambda answer: {
        **answer,
        "data": [{**entry, "embedding": entry["embedding"][::-1]} for entry in answer["data"]],
    }
    sick = run("doctor", str(out))
    assert sick.returncode == 3
    assert "vectors of fixed texts differ by" in " ".join(sick.stdout.split())
    assert service.requests[-1] == list(CANARY_TEXTS)
