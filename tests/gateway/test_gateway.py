from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import embcompat as ec
from embcompat.cli.serve import listen
from embcompat.errors import ExtractionError, InputError
from embcompat.gateway import EndpointUpstream, ExtractorUpstream, create_app
from embcompat.gateway.canary import canary_drift
from embcompat.gateway.upstream import UpstreamError
from embcompat.testing import make_pairs

DIM, TARGET_DIM = 6, 4


class HashedWords:
    """A real, small extractor: a sum of one fixed random vector a word."""

    chunk_size = 64

    def __init__(self, space: ec.SpaceVersion) -> None:
        self.space = space

    def extract(self, items: Sequence[Any]) -> np.ndarray:
        if "refused" in items:
            raise ExtractionError("this text is refused")
        rows = np.zeros((len(items), self.space.dim), dtype=np.float32)
        for row, text in enumerate(items):
            for word in text.split():
                rows[row] += np.random.default_rng(list(word.encode())).standard_normal(self.space.dim)
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pairs = make_pairs(300, source_dim=DIM, target_dim=TARGET_DIM, normalized=True).pairs
    split = ec.split_pairs(pairs, seed=0)
    path = tmp_path_factory.mktemp("gateway") / "artifact"
    aligner = ec.fit_aligner("ridge", split.train, split.validation)
    ec.save_artifact(aligner, path, split=split, source=pairs.source.space, target=pairs.target.space)
    return path


class Served:
    """An ASGI application on a free port of loopback, in a thread."""

    def __init__(self, app: Starlette) -> None:
        config = uvicorn.Config(app, port=0, log_level="warning", ws="none")
        self._socket = listen(config)
        self._server = uvicorn.Server(config)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})

    def __enter__(self) -> str:
        self._thread.start()
        return self.url

    def __exit__(self, *_details: object) -> None:
        self._server.should_exit = True
        self._thread.join()


@pytest.fixture(scope="module")
def endpoint(artifact: Path) -> Iterator[str]:
    aligner = ec.OnnxAligner(artifact)
    app = create_app(aligner, ExtractorUpstream(HashedWords(aligner.artifact.source)), aliases=("ada",))
    with Served(app) as url:
        yield url


def client(url: str, key: str = "none") -> openai.OpenAI:
    return openai.OpenAI(base_url=url, api_key=key, max_retries=0)


def test_the_official_client_gets_mapped_vectors_by_the_alias_and_the_models_own_by_its_space(
    endpoint: str, artifact: Path
) -> None:
    aligner = ec.OnnxAligner(artifact)
    texts = ["one two", "three", "four five six"]
    native = HashedWords(aligner.artifact.source).extract(texts)
    expected = {"ada": aligner.transform(native), aligner.artifact.target.id: aligner.transform(native)}
    expected[aligner.artifact.source.id] = native
    for model, vectors in expected.items():
        for encoding in ("float", "base64"):
            answer = client(endpoint).embeddings.create(model=model, input=texts, encoding_format=encoding)
            rows = [entry.embedding for entry in answer.data]
            if encoding == "base64":
                rows = [np.frombuffer(base64.b64decode(row), dtype="<f4") for row in rows]
            np.testing.assert_allclose(rows, vectors, atol=1e-6)
            assert [entry.index for entry in answer.data] == [0, 1, 2]
    single = client(endpoint).embeddings.create(model="ada", input="three")
    np.testing.assert_allclose(single.data[0].embedding, expected["ada"][1], atol=1e-6)


def test_models_health_and_metrics(endpoint: str, artifact: Path) -> None:
    names = [model.id for model in client(endpoint).models.list()]
    assert names == ["made-old@1", "made-new@1", "ada"]
    assert client(endpoint).models.retrieve("ada").id == "ada"
    root = endpoint.removesuffix("/v1")
    assert httpx.get(f"{root}/health").json()["artifact"] == ec.OnnxAligner(artifact).artifact.id
    client(endpoint).embeddings.create(model="ada", input=["one", "two"])
    page = httpx.get(f"{root}/metrics").text
    assert 'embcompat_requests_total{model="ada",status="200"}' in page
    assert float(re.search(r"embcompat_convertibility_count (\S+)", page)[1]) >= 2
    assert "embcompat_canary_drift 0.0" in page


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"input": "a"}, 404, "model must be one of made-old@1, made-new@1, ada. Got None"),
        ({"model": "x", "input": "a"}, 404, "Got 'x'"),
        ({"model": "ada"}, 400, "input must be a text"),
        ({"model": "ada", "input": ["a", ""]}, 400, "Input 1 is"),
        ({"model": "ada", "input": []}, 400, "1 to 2048"),
        ({"model": "ada", "input": ["a"] * 2_049}, 400, "Got 2049"),
        ({"model": "ada", "input": [1, 2]}, 400, "not token ids"),
        ({"model": "ada", "input": ["a", True]}, 400, "Input 1 is neither"),
        ({"model": "ada", "input": "a", "dimensions": 3}, 400, "dimensions must be 4"),
        ({"model": "ada", "input": "a", "encoding_format": "int8"}, 400, "float or base64"),
        ({"model": "ada", "input": "refused"}, 400, "this text is refused"),
        ([], 400, "JSON object"),
    ],
)
def test_what_cannot_be_answered_is_an_error_as_clients_read_it(
    endpoint: str, body: Any, status: int, message: str
) -> None:
    answer = httpx.post(f"{endpoint}/embeddings", json=body)
    assert answer.status_code == status
    assert message in answer.json()["error"]["message"]
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_other_paths_and_broken_json(endpoint: str) -> None:
    assert httpx.post(f"{endpoint}/embeddings", content=b"{").status_code == 400
    assert httpx.post(f"{endpoint}/chat/completions", json={}).json()["error"]["type"] == "invalid_request_error"
    assert httpx.get(f"{endpoint}/embeddings").status_code == 405
    with pytest.raises(openai.NotFoundError, match="model must be one of"):
        client(endpoint).embeddings.create(model="nobody", input="a")


def test_upstreams_answers_errors_and_key_pass_through(endpoint: str, artifact: Path) -> None:
    aligner = ec.OnnxAligner(artifact)
    upstream = EndpointUpstream(endpoint, aligner.artifact.source.id)
    with Served(create_app(aligner, upstream)) as url:
        texts = ["one two", "three"]
        answer = client(url).embeddings.create(model=aligner.artifact.target.id, input=texts)
        expected = aligner.transform(HashedWords(aligner.artifact.source).extract(texts))
        np.testing.assert_allclose([entry.embedding for entry in answer.data], expected, atol=1e-6)
        with pytest.raises(openai.BadRequestError, match="this text is refused"):
            client(url).embeddings.create(model=aligner.artifact.target.id, input="refused")


@pytest.mark.parametrize(
    ("behaviour", "status", "message"),
    [
        ("limit", 429, "slow down"),
        ("fail", 500, "answered 500"),
        ("short", 502, "must answer with 1 embeddings"),
        ("wide", 502, "it serves another model"),
        ("zeros", 502, "only zeros"),
        ("nan", 502, "NaN"),
        ("slow", 504, "in time"),
        ("text", 502, "must answer"),
    ],
)
def test_an_upstream_that_misbehaves(artifact: Path, behaviour: str, status: int, message: str) -> None:
    async def embeddings(request: Request) -> Response:
        if request.headers.get("authorization") != "Bearer secret-key":
            return JSONResponse({"error": {"message": "no key"}}, status_code=401)
        not_numbers = base64.b64encode(np.full(DIM, np.nan, dtype="<f4").tobytes()).decode()
        vector = {"wide": [1.0] * 9, "zeros": [0.0] * DIM, "nan": not_numbers}.get(behaviour, [1.0] * DIM)
        if behaviour == "slow":
            await asyncio.sleep(1)
        if behaviour == "limit":
            body = {"error": {"message": "slow down", "type": "requests", "code": "rate_limit_exceeded"}}
            return JSONResponse(body, status_code=429, headers={"retry-after": "7"})
        if behaviour == "fail":
            return Response("oops", status_code=500)
        if behaviour == "text":
            return Response("hello")
        data = [] if behaviour == "short" else [{"index": 0, "embedding": vector}]
        return Response(json.dumps({"data": data}), media_type="application/json")

    aligner = ec.OnnxAligner(artifact)
    with Served(Starlette(routes=[Route("/v1/embeddings", embeddings, methods=["POST"])])) as broken:
        upstream = EndpointUpstream(broken, "m", timeout_seconds=0.5, key_variable="EMBCOMPAT_NO_SUCH_KEY")
        with Served(create_app(aligner, upstream)) as url:
            body = {"model": aligner.artifact.target.id, "input": "a"}
            answer = httpx.post(f"{url}/embeddings", json=body, headers={"authorization": "Bearer secret-key"})
            assert answer.status_code == status
            assert message in answer.json()["error"]["message"]
            assert "secret-key" not in answer.text
            assert answer.headers.get("retry-after") == ("7" if behaviour == "limit" else None)
            assert httpx.post(f"{url}/embeddings", json=body).json()["error"]["message"] == "no key"


def test_an_upstream_that_is_not_there(artifact: Path) -> None:
    aligner = ec.OnnxAligner(artifact)
    upstream = EndpointUpstream("http://127.0.0.1:9/v1", "m")
    with (
        Served(create_app(aligner, upstream)) as url,
        pytest.raises(openai.InternalServerError, match="cannot be reached"),
    ):
        client(url).embeddings.create(model=aligner.artifact.target.id, input="a")


def test_a_connection_that_upstream_closed_meanwhile_is_opened_again() -> None:
    """The server answers once a connection, then reads the next request and closes without an answer."""
    connections: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(len(connections))
        for answers in (True, False):
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(re.search(rb"(?i)content-length: (\d+)", head)[1]))
            if answers:
                body = json.dumps({"data": [{"index": 0, "embedding": [1.0] * DIM}]}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
                await writer.drain()
        writer.close()

    async def ask() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        upstream = EndpointUpstream(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", "m")
        for _ in range(3):
            answer = await upstream.embed(["a"], {})
            np.testing.assert_array_equal(answer.vectors, np.ones((1, DIM), dtype=np.float32))
        await upstream.close()
        server.close()
        await server.wait_closed()

    asyncio.run(ask())
    assert len(connections) == 3


def test_the_proxy_of_the_environment_is_used_where_it_applies(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines.append(await reader.readline())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async def ask(url: str) -> None:
        upstream = EndpointUpstream(url, "m")
        with pytest.raises(UpstreamError):
            await upstream.embed(["a"], {})
        await upstream.close()

    async def both() -> None:
        proxy = await asyncio.start_server(serve, "127.0.0.1", 0)
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        await ask("http://model.invalid/v1")
        await ask("http://127.0.0.1:9/v1")
        proxy.close()
        await proxy.wait_closed()

    asyncio.run(both())
    assert lines == [b"POST http://model.invalid/v1/embeddings HTTP/1.1\r\n"]


def test_floats_read_back_as_the_same_float32(endpoint: str, artifact: Path) -> None:
    model = ec.OnnxAligner(artifact).artifact.target.id
    answers = [
        httpx.post(f"{endpoint}/embeddings", json={"model": model, "input": ["a b", "c"], "encoding_format": encoding})
        for encoding in ("float", "base64")
    ]
    floats, bytes_ = ([entry["embedding"] for entry in answer.json()["data"]] for answer in answers)
    decoded = [np.frombuffer(base64.b64decode(row), dtype="<f4") for row in bytes_]
    np.testing.assert_array_equal(np.array(floats, dtype=np.float32), np.stack(decoded))


def test_cookies_of_upstream_do_not_reach_other_clients(artifact: Path) -> None:
    cookies: list[str | None] = []

    async def embeddings(request: Request) -> Response:
        cookies.append(request.headers.get("cookie"))
        answer = JSONResponse({"data": [{"index": 0, "embedding": [1.0] * DIM}]})
        answer.set_cookie("session", "of-one-client")
        return answer

    aligner = ec.OnnxAligner(artifact)
    with (
        Served(Starlette(routes=[Route("/v1/embeddings", embeddings, methods=["POST"])])) as broken,
        Served(create_app(aligner, EndpointUpstream(broken, "m"))) as url,
    ):
        for _ in range(2):
            httpx.post(f"{url}/embeddings", json={"model": aligner.artifact.target.id, "input": "a"})
    assert len(cookies) >= 2
    assert set(cookies) == {None}


def test_many_clients_at_once_get_their_own_vectors(endpoint: str, artifact: Path) -> None:
    aligner = ec.OnnxAligner(artifact)
    model = HashedWords(aligner.artifact.source)

    def ask(number: int) -> None:
        text = f"text number {number}"
        answer = httpx.post(f"{endpoint}/embeddings", json={"model": "ada", "input": text})
        np.testing.assert_allclose(
            answer.json()["data"][0]["embedding"], aligner.transform(model.extract([text]))[0], atol=1e-6
        )

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ask, range(64)))


def test_addresses_and_names_are_checked(artifact: Path) -> None:
    aligner = ec.OnnxAligner(artifact)
    with pytest.raises(InputError, match="must be an address"):
        EndpointUpstream("api.example", "m")
    with pytest.raises(InputError, match="upstream's own vectors"):
        create_app(aligner, EndpointUpstream("http://127.0.0.1:9/v1", "m"), aliases=("made-old@1",))


def test_drift_of_the_canary() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((3, 8)).astype(np.float32)
    assert canary_drift(vectors, 2 * vectors) == pytest.approx(0, abs=1e-6)
    assert canary_drift(vectors, -vectors) == pytest.approx(2, abs=1e-6)


def test_the_command_serves_until_it_is_told_to_stop(artifact: Path) -> None:
    words = [sys.executable, "-m", "embcompat", "serve", str(artifact), "--port", "0"]
    words += ["--upstream", "http://127.0.0.1:9/v1", "--upstream-model", "m"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=os.environ | {"COLUMNS": "200"})
    assert process.stderr is not None
    line = process.stderr.readline()
    url = re.search(r"http://\S+/v1", line)
    assert url is not None, line
    root = url[0].removesuffix("/v1")
    for _ in range(100):
        try:
            assert httpx.get(f"{root}/health").json()["status"] == "ok"
            break
        except httpx.TransportError:
            time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) in (0, -signal.SIGTERM)
    process.stderr.close()


def test_small_answers_are_sent_at_once(artifact: Path) -> None:
    listener = listen(uvicorn.Config(create_app(ec.OnnxAligner(artifact), EndpointUpstream("http://x", "m")), port=0))
    listener.listen()
    with listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_the_command_asks_for_one_model(artifact: Path) -> None:
    for words, message in (
        ([], "name the model"),
        (["--upstream", "http://x/v1"], "--upstream-model"),
        (["--upstream", "http://x/v1", "--upstream-model", "m", "-e", "minilm"], "name the model"),
    ):
        process = subprocess.run(
            [sys.executable, "-m", "embcompat", "serve", str(artifact), *words],
            capture_output=True,
            text=True,
            check=False,
        )
        assert process.returncode == 2
        assert message in " ".join(process.stderr.replace("│", " ").split())
