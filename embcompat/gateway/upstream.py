"""Where the vectors come from: another endpoint, or an extractor in this process."""

from __future__ import annotations

import base64
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import numpy as np
import orjson
from numpy.typing import NDArray

from embcompat.errors import EmbcompatError, InputError, ServiceError
from embcompat.gateway.protocol import Input, RequestError
from embcompat.redaction import redact

if TYPE_CHECKING:
    from embcompat.extractors import Extractor

FORWARDED_HEADERS = ("authorization", "api-key", "openai-organization", "openai-project", "x-request-id")
"""What of a client's request reaches the upstream endpoint."""


@dataclass(frozen=True)
class UpstreamAnswer:
    """Vectors (n, dim), and what the model counted."""

    vectors: NDArray[np.float32]
    usage: Mapping[str, int] | None = None


class UpstreamError(Exception):
    """The upstream endpoint refused, failed or did not answer.

    Args:
        message: What happened.
        status: The HTTP status for the client: upstream's own where it answered.
        body: Upstream's own error, passed on as it is, or None.
        headers: Upstream's headers that clients need (``retry-after``).
    """

    def __init__(
        self, message: str, *, status: int, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.body, self.headers = status, body, dict(headers or {})


class Upstream(ABC):
    """The source of vectors."""

    @abstractmethod
    async def embed(self, inputs: Sequence[Input], headers: Mapping[str, str]) -> UpstreamAnswer:
        """Embed n inputs.

        Raises:
            UpstreamError: If the model cannot be reached or refuses.
            RequestError: If the model does not take such inputs.
        """

    @abstractmethod
    async def close(self) -> None:
        """Give up connections."""


@final
class ExtractorUpstream(Upstream):
    """An extractor in this process, one call at a time.

    Args:
        extractor: A text extractor.
    """

    def __init__(self, extractor: Extractor) -> None:
        import anyio

        self._extractor = extractor
        self._limit = anyio.CapacityLimiter(1)

    async def embed(self, inputs: Sequence[Input], headers: Mapping[str, str]) -> UpstreamAnswer:  # noqa: ARG002
        """Embed texts in a worker thread."""
        import anyio.to_thread

        if not all(isinstance(entry, str) for entry in inputs):
            raise RequestError(
                "this endpoint embeds texts, not token ids. Send strings; in LangChain's OpenAIEmbeddings set "
                "check_embedding_ctx_length=False."
            )
        try:
            vectors = await anyio.to_thread.run_sync(self._extractor.extract, list(inputs), limiter=self._limit)
        except ServiceError as error:
            raise UpstreamError(str(error), status=502) from error
        except EmbcompatError as error:
            raise RequestError(str(error)) from error
        return UpstreamAnswer(vectors)

    async def close(self) -> None:
        """There is nothing to close."""


@final
class EndpointUpstream(Upstream):
    """An OpenAI-compatible endpoint. A client's key is passed on; without one, the key in the environment is used.

    Args:
        url: Its base, up to ``/v1``.
        model: The model's name there.
        key_variable: Environment variable that may hold a key.
        timeout_seconds: How long one request may take.

    Raises:
        InputError: If the URL is none.
    """

    def __init__(
        self, url: str, model: str, *, key_variable: str = "OPENAI_API_KEY", timeout_seconds: float = 60
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise InputError(f"the upstream must be an address like https://host/v1. Got {url!r}.")
        self._url, self._model, self._key = url.rstrip("/") + "/embeddings", model, os.environ.get(key_variable)
        self._timeout_seconds = timeout_seconds
        self._session: aiohttp.ClientSession | None = None

    async def embed(self, inputs: Sequence[Input], headers: Mapping[str, str]) -> UpstreamAnswer:
        """Ask the endpoint, in base64, which is a third of the bytes."""
        forwarded = {name: headers[name] for name in FORWARDED_HEADERS if name in headers}
        if self._key and "authorization" not in forwarded and "api-key" not in forwarded:
            forwarded["authorization"] = f"Bearer {self._key}"
        body = orjson.dumps({"model": self._model, "input": inputs, "encoding_format": "base64"})
        try:
            try:
                answer = await self._post(body, forwarded)
            except aiohttp.ServerDisconnectedError:  # it closed an idle connection at the moment of its use
                answer = await self._post(body, forwarded)
        except TimeoutError as error:
            raise UpstreamError(f"{redact(self._url)} did not answer in time.", status=504) from error
        except (aiohttp.ClientError, ValueError) as error:  # ValueError: a header that cannot be sent
            raise UpstreamError(f"{redact(self._url)} cannot be reached: {redact(str(error))}", status=502) from error
        if answer.status != HTTPStatus.OK:
            headers_passed_on = {name: answer.headers[name] for name in ("retry-after",) if name in answer.headers}
            raise UpstreamError(
                f"{redact(self._url)} answered {answer.status}.",
                status=answer.status,
                body=answer.content,
                headers=headers_passed_on,
            )
        return _read_answer(answer.content, len(inputs), redact(self._url))

    async def _post(self, body: bytes, headers: Mapping[str, str]) -> _Answer:
        headers = {"content-type": "application/json", **headers}
        async with self._open().post(self._url, data=body, headers=headers, allow_redirects=False) as response:
            data = await response.read()
            try:
                content = orjson.loads(data)
            except ValueError:
                content = None
            return _Answer(response.status, response.headers, content)

    def _open(self) -> aiohttp.ClientSession:
        """Return the session, which belongs to the running loop: one for all requests, its connections kept open."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),  # clients must not share a cookie of upstream's
                timeout=aiohttp.ClientTimeout(total=self._timeout_seconds),
                proxy=_proxy_of(self._url),  # once: the session would look it up in another thread, each time
            )
        return self._session

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def _proxy_of(url: str) -> str | None:
    """Return the proxy that the environment names for an address (HTTPS_PROXY, NO_PROXY and the like)."""
    parts = urlsplit(url)
    return None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)


@dataclass(frozen=True)
class _Answer:
    """What the endpoint answered; its JSON is None where it is none."""

    status: int
    headers: Mapping[str, str]
    content: Any


def _read_answer(content: Any, count: int, url: str) -> UpstreamAnswer:
    try:
        rows = {entry["index"]: _decode(entry["embedding"]) for entry in content["data"]}
        vectors = np.stack([rows[index] for index in range(count)]).astype(np.float32, copy=False)
    except (KeyError, TypeError, ValueError) as error:
        raise UpstreamError(f"{url} must answer with {count} embeddings. It answered otherwise.", status=502) from error
    return UpstreamAnswer(vectors, content.get("usage"))


def _decode(embedding: Any) -> NDArray[np.float32]:
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4")
    return np.asarray(embedding, dtype=np.float32)
