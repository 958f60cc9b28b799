"""Requests to an OpenSearch or Elasticsearch server, whose errors are ours.

Both official clients can send any request, so the store needs one set of requests for both products. What differs
between the products is in `Server`.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, final
from urllib.parse import quote, unquote, urlsplit

from embcompat.errors import MissingExtraError, StoreError

Product = Literal["opensearch", "elasticsearch"]

_PAUSES_SECONDS: Final = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Pauses between the tries of a request [ours]: a node that restarts answers again within about fifteen seconds."""

BUSY: Final = frozenset({429, 502, 503, 504})
"""Status of a server that may answer in a moment."""

_TIMEOUT_SECONDS: Final = 120.0
_CONNECTIONS: Final = 4
_PORTS: Final = {"http": 80, "https": 443}

Send = Callable[[str, str, Mapping[str, Any], Any], Any]
"""Sends method, path, parameters and body; raises `RequestError`."""


@final
class RequestError(StoreError):
    """A request that the server refused, or could not be sent.

    Args:
        message: What the server said.
        status: Status of the answer; 0 where none came.
        kind: What the server calls the error.
    """

    def __init__(self, message: str, status: int, kind: str = "") -> None:
        super().__init__(message)
        self.status, self.kind = status, kind


@final
class Server:
    """A server, and what it can do.

    Args:
        send: Sends a request.
        product: Which product it is.
        close: Lets go of the connections.
        where: Where the gallery is, for the errors.

    Attributes:
        product: As given.
        version: Its version as two numbers.

    Raises:
        StoreError: If it does not answer, or is another product.
    """

    def __init__(self, send: Send, product: Product, close: Callable[[], None], *, where: str) -> None:
        self._send, self.product, self.close, self._where = send, product, close, where
        version = self.request("GET", "/", tries=1)["version"]
        if product == "opensearch" and version.get("distribution") != "opensearch":
            raise StoreError(
                f"{where}: the server is not OpenSearch. For Elasticsearch, write elasticsearch+http(s)://."
            )
        self.version = tuple(int(part) for part in re.findall(r"\d+", str(version["number"]))[:2])

    @property
    def hides_vectors(self) -> bool:
        """Whether documents come without their vectors unless these are asked for."""
        return self.product == "elasticsearch" and self.version >= (9, 2)

    def request(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str] | None = None,
        *,
        body: Any = None,
        tries: int | None = None,
    ) -> dict[str, Any]:
        """Send a request, and again while the server is busy; every request of ours may be repeated.

        Args:
            method: HTTP method.
            path: Path, quoted.
            parameters: What follows ``?``.
            body: A JSON object, or the lines of a bulk request.
            tries: How often it is sent at most.

        Raises:
            RequestError: If the server refuses it, or does not answer.
        """
        pauses = iter(_PAUSES_SECONDS if tries is None else _PAUSES_SECONDS[: tries - 1])
        while True:
            try:
                return dict(self._send(method, path, parameters or {}, body) or {})
            except RequestError as error:
                pause = next(pauses, None)
                if pause is None or (error.status and error.status not in BUSY):
                    raise RequestError(f"{self._where}: {error}", error.status, error.kind) from error
            time.sleep(pause)

    def lookup(
        self, method: str, path: str, parameters: Mapping[str, str] | None = None, *, body: Any = None
    ) -> dict[str, Any] | None:
        """Send a request for something that may not be there; None where it is not."""
        try:
            return self.request(method, path, parameters, body=body)
        except RequestError as error:
            if error.status == 404:
                return None
            raise


def connect(location: str, product: Product, *, where: str) -> Server:
    """Connect to a server.

    What to log in with stands in the address, or in the environment: ``OPENSEARCH_USERNAME`` and
    ``OPENSEARCH_PASSWORD``, or ``ELASTICSEARCH_…``, or ``ELASTICSEARCH_API_KEY``; the certificate of the authority that
    a server trusts in ``OPENSEARCH_CA_CERTS`` or ``ELASTICSEARCH_CA_CERTS``, a path.

    Args:
        location: Its address.
        product: Which product it is.
        where: Where the gallery is, for the errors.

    Raises:
        MissingExtraError: If the client of the product is not installed.
        StoreError: If the server does not answer, or is another product.
    """
    parts = urlsplit(location)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    base = f"{parts.scheme}://{host}:{parts.port or _PORTS[parts.scheme]}"
    prefix = parts.path.rstrip("/")
    variables = product.upper()
    user = unquote(parts.username or os.environ.get(f"{variables}_USERNAME", ""))
    password = unquote(parts.password or "") or os.environ.get(f"{variables}_PASSWORD", "")
    options: dict[str, Any] = {}
    if certificate := os.environ.get(f"{variables}_CA_CERTS"):
        options["ca_certs"] = certificate
    opener = _opensearch if product == "opensearch" else _elasticsearch
    try:
        send, close = opener(base, (user, password) if user else None, options)
    except ImportError as error:
        package = "opensearch-py" if product == "opensearch" else "elasticsearch"
        raise MissingExtraError(package, f"embcompat[{product}]", f"A gallery at {product}+http:") from error
    try:
        return Server(
            lambda method, path, parameters, body: send(method, prefix + path, parameters, body),
            product,
            close,
            where=where,
        )
    except BaseException:
        close()
        raise


def quoted(name: str) -> str:
    """Return a name as a part of a path."""
    return quote(name, safe="")


def _opensearch(base: str, login: tuple[str, str] | None, options: dict[str, Any]) -> tuple[Send, Callable[[], None]]:
    from opensearchpy import OpenSearch
    from opensearchpy.exceptions import OpenSearchException, TransportError

    logging.getLogger("opensearch").setLevel(logging.CRITICAL)  # what it logs, it raises as well
    client = OpenSearch(
        base, http_auth=login, timeout=_TIMEOUT_SECONDS, max_retries=0, pool_maxsize=_CONNECTIONS, **options
    )

    def send(method: str, path: str, parameters: Mapping[str, Any], body: Any) -> Any:
        try:
            return client.transport.perform_request(method, path, params=dict(parameters), body=body)
        except TransportError as error:
            status = error.status_code if isinstance(error.status_code, int) else 0
            raise _refusal(status, error.info, str(error.error)) from error
        except OpenSearchException as error:
            raise RequestError(str(error), 0) from error

    return send, client.close


def _elasticsearch(
    base: str, login: tuple[str, str] | None, options: dict[str, Any]
) -> tuple[Send, Callable[[], None]]:
    from elasticsearch import ApiError, Elasticsearch, TransportError, UnsupportedProductError

    logging.getLogger("elastic_transport").setLevel(logging.CRITICAL)
    key = None if login else os.environ.get("ELASTICSEARCH_API_KEY")
    client = Elasticsearch(
        base, basic_auth=login, api_key=key, request_timeout=_TIMEOUT_SECONDS, max_retries=0, **options
    )

    def send(method: str, path: str, parameters: Mapping[str, Any], body: Any) -> Any:
        lines = isinstance(body, bytes)
        headers = {"accept": "application/json"}
        if body is not None:
            headers["content-type"] = "application/x-ndjson" if lines else "application/json"
        try:
            return client.perform_request(method, path, params=dict(parameters), headers=headers, body=body).body
        except UnsupportedProductError as error:
            message = "the server is not Elasticsearch. For OpenSearch, write opensearch+http(s)://."
            raise RequestError(message, 400) from error
        except ApiError as error:
            refusal = _refusal(error.meta.status, error.body, str(error))
            if refusal.kind == "media_type_header_exception":
                hint = (
                    f"{refusal}. Install a client of the server's version, for instance pip install 'elasticsearch<9'."
                )
                raise RequestError(hint, refusal.status, refusal.kind) from error
            raise refusal from error
        except TransportError as error:
            raise RequestError(f"the server cannot be reached: {error}", 0) from error

    return send, client.close


def _refusal(status: int, answer: Any, otherwise: str) -> RequestError:
    """Return the error of an answer, with the reason that the server gives."""
    error = answer.get("error") if isinstance(answer, dict) else None
    if isinstance(error, dict):
        causes = [cause.get("reason") for cause in error.get("root_cause", [])]
        reason = next((text for text in [*causes, error.get("reason")] if text), otherwise)
        return RequestError(f"{reason} ({error.get('type')}, status {status})", status, str(error.get("type")))
    if status == 0:
        return RequestError(f"the server cannot be reached: {otherwise}", 0)
    return RequestError(f"the server answers with status {status}: {error or otherwise}", status)
