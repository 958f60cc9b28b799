"""A client of Qdrant whose requests are tried again while a server restarts, and whose errors are ours."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any, Final, cast, final

from qdrant_client import QdrantClient
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from embcompat.errors import StoreError

_PAUSES_SECONDS: Final = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Pauses between the tries of a request [ours]: a server that restarts answers again within about fifteen seconds."""

_NAMED_VECTORS_SINCE: Final = (1, 18)
_SERVER_ERRORS: Final = frozenset({429, 502, 503, 504})


def guarded(client: QdrantClient, *, where: str) -> QdrantClient:
    """Return a client whose requests raise StoreError, once trying again did not help.

    Every request of ours may be repeated: upserts, updates and deletions have the same effect twice.

    Args:
        client: The client.
        where: Where the gallery is, for the errors.
    """
    return cast(QdrantClient, _Guard(client, where))


def require_server(client: QdrantClient, *, named_vectors: bool, where: str) -> None:
    """Check, without trying again, that a server answers and can do what is needed.

    Args:
        client: The client.
        named_vectors: Whether named vectors are to be added to a collection.
        where: Where the gallery is, for the errors.

    Raises:
        StoreError: If it does not answer, or is too old.
    """
    try:
        version = client.info().version
    except (ApiException, QdrantException) as error:
        raise StoreError(f"{where}: {_sentence(error)}") from error
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if named_vectors and numbers < _NAMED_VECTORS_SINCE:
        raise StoreError(
            f"{where}: a named vector can be added to a collection since Qdrant 1.18; this server is {version}. Use an "
            "alias, without ?target=vector, or a newer server."
        )


@final
class _Guard:
    def __init__(self, client: QdrantClient, where: str) -> None:
        self._client, self._where = client, where

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        return self._tried(method) if callable(method) else method

    def _tried(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def request(*arguments: Any, **options: Any) -> Any:
            pauses = iter(_PAUSES_SECONDS)
            while True:
                try:
                    return method(*arguments, **options)
                except (ApiException, QdrantException, KeyError, ValueError) as error:
                    pause = next(pauses, None)
                    if pause is None or not _may_pass(error):
                        raise StoreError(f"{self._where}: {_sentence(error)}") from error
                time.sleep(pause)

        return request


def _may_pass(error: Exception) -> bool:
    """Return whether an error is one of a server that is busy, or not there for a moment."""
    if isinstance(error, UnexpectedResponse):
        return error.status_code in _SERVER_ERRORS
    return isinstance(error, (ResponseHandlingException, ResourceExhaustedResponse))


def _sentence(error: Exception) -> str:
    if isinstance(error, ResponseHandlingException):
        return f"the server cannot be reached: {error.source}"
    if isinstance(error, KeyError):  # the client's local mode
        return f"there is no point {error.args[0]}"
    return str(error)
