from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

import embcompat as ec
from embcompat.cli.serve import listen
from embcompat.extractors import load_extractor
from embcompat.gateway import ExtractorUpstream, create_app

WORDS = ["river", "stone", "cloud", "harvest", "window", "iron", "music", "lantern", "valley", "thunder"]
TEXTS = [f"{first} and {second}" for first in WORDS for second in WORDS if first != second]


class Service:
    """`embcompat serve` with a real model on loopback, in front of which faults can be put.

    Attributes:
        url: Its base.
        requests: The texts of each request that reached it.
        keys: The authorization of each.
        faults: What the next requests get instead of the model's answer; None lets one pass.
        refused: A text with which a request is refused, or None.
        change: Changes the JSON of every answer of the model.
    """

    def __init__(self, app: ASGIApp, models: dict[str, str]) -> None:
        self._app, self.models = app, models
        self.requests: list[list[str]] = []
        self.keys: list[str | None] = []
        self.faults: deque[Response | float | None] = deque()
        self.refused: str | None = None
        self.change: Callable[[dict[str, Any]], Any] | None = None
        config = uvicorn.Config(self._answer, port=0, log_level="warning", ws="none", interface="asgi3")
        self._socket = listen(config)
        self._server = uvicorn.Server(config)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})

    def __enter__(self) -> Service:
        self._thread.start()
        return self

    def __exit__(self, *_details: object) -> None:
        self._server.should_exit = True
        self._thread.join()

    def reset(self) -> None:
        self.requests, self.keys, self.change, self.refused = [], [], None, None
        self.faults.clear()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        body = await request.body()
        self.requests.append(json.loads(body)["input"])
        self.keys.append(request.headers.get("authorization"))
        fault = self.faults.popleft() if self.faults else None
        if isinstance(fault, Response):
            await fault(scope, receive, send)
            return
        if self.refused in self.requests[-1]:
            answer = JSONResponse({"error": {"message": "maximum context length is 8192 tokens"}}, 400)
            await answer(scope, receive, send)
            return
        if fault is not None:
            await asyncio.sleep(fault)
        answer = await self._ask(scope, json.loads(body))
        await answer(scope, receive, send)

    async def _ask(self, scope: Scope, body: dict[str, Any]) -> Response:
        body["encoding_format"] = "float" if self.change else body.get("encoding_format", "float")
        content, status, parts = json.dumps(body).encode(), [0], []

        async def receive() -> Any:
            return {"type": "http.request", "body": content}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                status[0] = message["status"]
            else:
                parts.append(message.get("body", b""))

        await self._app(scope, receive, send)
        answer = b"".join(parts)
        if self.change is not None and status[0] == 200:
            return Response(json.dumps(self.change(json.loads(answer))), media_type="application/json")
        return Response(answer, status[0], media_type="application/json")


@pytest.fixture(scope="session")
def running(one_static_model: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    model = load_extractor("static64")
    vectors = ec.extract_embeddings(model, TEXTS)
    other = ec.SpaceVersion(name="turned", version="1", dim=64, similarity="cosine", normalized=True)
    turned = ec.Embeddings(vectors.vectors[:, ::-1].copy(), vectors.ids, other)
    split = ec.split_pairs(ec.pair_embeddings(vectors, turned), seed=0)
    path = Path(tmp_path_factory.mktemp("service")) / "artifact"
    aligner = ec.fit_aligner("procrustes", split.train, split.validation)
    ec.save_artifact(aligner, path, split=split, source=vectors.space, target=other)
    app = create_app(ec.OnnxAligner(path), ExtractorUpstream(model), aliases=("turned",))
    with Service(app, {"own": vectors.space.id, "other": other.id}) as service:
        yield service


@pytest.fixture
def service(running: Service, monkeypatch: pytest.MonkeyPatch) -> Service:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    running.reset()
    return running
