"""The endpoint itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, final

import numpy as np
import orjson
from anyio import to_thread
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from embcompat.errors import InputError
from embcompat.gateway.canary import watch_canary
from embcompat.gateway.metrics import Metrics
from embcompat.gateway.protocol import EmbeddingRequest, RequestError, encode_answer, encode_error, parse_request
from embcompat.gateway.upstream import Upstream, UpstreamAnswer, UpstreamError
from embcompat.runtime import OnnxAligner

CANARY_SECONDS = 3_600.0

ROWS_AT_ONCE = 16
"""Vectors of a request that are mapped on the spot: that takes less time than the way to another thread [ours]."""


def create_app(
    aligner: OnnxAligner,
    upstream: Upstream,
    *,
    aliases: tuple[str, ...] = (),
    canary_seconds: float = CANARY_SECONDS,
) -> Starlette:
    """Make an ASGI application with OpenAI's ``/v1/embeddings`` and ``/v1/models``, ``/health`` and ``/metrics``.

    A request names the space it wants: the id of the artifact's target, or an alias of it (the name of the model that
    the application has always asked for), for mapped vectors; the id of the source for upstream's own.

    Args:
        aligner: The artifact; its source is the space of upstream's vectors.
        upstream: The model.
        aliases: More names of the target.
        canary_seconds: Time between two looks at whether upstream is still the same model.

    Raises:
        InputError: If the artifact reads texts, which a mapped query does not need, or an alias is the source's name.
    """
    source, target = aligner.artifact.source, aligner.artifact.target
    if aligner.reads_texts:
        raise InputError(f"{aligner!r} converts stored items with their texts. Serve an artifact that maps vectors.")
    if source.id in aliases:
        raise InputError(f"{source.id!r} names upstream's own vectors, so it cannot be another name of {target.id!r}.")
    endpoint = _Endpoint(aligner, upstream, {source.id: source.dim} | dict.fromkeys((target.id, *aliases), target.dim))

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        watch = asyncio.create_task(watch_canary(upstream, canary_seconds, endpoint.metrics.drift))
        try:
            yield
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch
            await upstream.close()

    routes = [
        Route("/v1/embeddings", endpoint.embeddings, methods=["POST"]),
        Route("/v1/models", endpoint.models),
        Route("/v1/models/{model:path}", endpoint.models),
        Route("/health", endpoint.health),
        Route("/metrics", endpoint.exposition),
    ]
    return Starlette(
        routes=routes, lifespan=lifespan, exception_handlers={404: _not_found, 405: _not_found, Exception: _failed}
    )


@final
class _Endpoint:
    def __init__(self, aligner: OnnxAligner, upstream: Upstream, dims: dict[str, int]) -> None:
        self.metrics = Metrics()
        self._aligner, self._upstream, self._dims = aligner, upstream, dims
        self._source = aligner.artifact.source
        self._scored = "convertibility" in aligner.artifact.manifest.calibration

    async def embeddings(self, request: Request) -> Response:
        """Answer one request."""
        start = time.perf_counter()
        response, model = await self._answer(request)
        self.metrics.requests.labels(model, str(response.status_code)).inc()
        self.metrics.seconds.observe(time.perf_counter() - start)
        return response

    async def _answer(self, request: Request) -> tuple[Response, str]:
        model = "unknown"
        try:
            parsed = parse_request(await _read_json(request), dims=self._dims)
            model = parsed.model
            answer = await self._embed(parsed, request)
            vectors = answer.vectors
            if parsed.model != self._source.id:
                few = len(vectors) <= ROWS_AT_ONCE
                vectors = self._map(vectors) if few else await to_thread.run_sync(self._map, vectors)
            return Response(encode_answer(parsed, vectors, answer.usage), media_type="application/json"), model
        except RequestError as error:
            content = encode_error(str(error), status=error.status, code=error.code)
            return JSONResponse(content, status_code=error.status), model
        except UpstreamError as error:
            content = error.body or encode_error(str(error), status=error.status, code="upstream_error")
            return JSONResponse(content, status_code=error.status, headers=error.headers), model

    async def _embed(self, parsed: EmbeddingRequest, request: Request) -> UpstreamAnswer:
        start = time.perf_counter()
        answer = await self._upstream.embed(parsed.inputs, request.headers)
        self.metrics.upstream_seconds.observe(time.perf_counter() - start)
        _check_vectors(answer.vectors, self._source.id, self._source.dim)
        self.metrics.inputs.inc(len(parsed.inputs))
        return answer

    def _map(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._scored:
            self.metrics.observe_convertibility(self._aligner.convertibility(vectors))
        return self._aligner.transform(vectors)

    async def models(self, request: Request) -> Response:
        """List the models, or one."""
        listed = [{"id": model, "object": "model", "created": 0, "owned_by": "embcompat"} for model in self._dims]
        name = request.path_params.get("model")
        if name is None:
            return JSONResponse({"object": "list", "data": listed})
        for entry in listed:
            if entry["id"] == name:
                return JSONResponse(entry)
        message = f"model must be one of {', '.join(self._dims)}. Got {name!r}."
        return JSONResponse(encode_error(message, status=404, code="model_not_found"), status_code=404)

    async def health(self, _request: Request) -> Response:
        """Say that the process answers, and what it serves."""
        artifact = self._aligner.artifact
        return JSONResponse(
            {"status": "ok", "artifact": artifact.id, "source": artifact.source.id, "target": artifact.target.id}
        )

    async def exposition(self, _request: Request) -> Response:
        """Show the counters."""
        return Response(self.metrics.render(), media_type="text/plain; version=0.0.4")


async def _read_json(request: Request) -> Any:
    try:
        return orjson.loads(await request.body())
    except ValueError as error:
        raise RequestError("the body must be JSON.") from error


def _check_vectors(vectors: NDArray[np.float32], name: str, dim: int) -> None:
    if vectors.ndim != 2 or vectors.shape[1] != dim:
        raise UpstreamError(
            f"upstream must return vectors of {dim} numbers, those of {name}. Got shape {vectors.shape}: it serves "
            "another model.",
            status=502,
        )
    if not np.isfinite(vectors).all() or not vectors.any(axis=1).all():
        raise UpstreamError("upstream returned NaN, infinity or only zeros.", status=502)


async def _not_found(request: Request, error: Any) -> Response:
    message = f"{request.method} {request.url.path} is not served. Use POST /v1/embeddings or GET /v1/models."
    return JSONResponse(encode_error(message, status=error.status_code), status_code=error.status_code)


async def _failed(_request: Request, error: Exception) -> Response:
    message = f"the endpoint failed: {type(error).__name__}. Its log has the details."
    return JSONResponse(encode_error(message, status=500), status_code=500)
