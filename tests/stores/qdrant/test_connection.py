"""Requests beside a server that restarts."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from embcompat.errors import StoreError
from embcompat.stores.qdrant import connection


class Restarting:
    """A client whose first requests fail."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    def count(self, number: int) -> int:
        if self.errors:
            raise self.errors.pop(0)
        return number


def answer(status: int) -> UnexpectedResponse:
    return UnexpectedResponse(status, "", b"in words", httpx.Headers())


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_PAUSES_SECONDS", (0.0, 0.0, 0.0))


def test_requests_are_tried_again_while_a_server_restarts() -> None:
    refused = ResponseHandlingException(httpx.ConnectError("refused"))
    client: Any = connection.guarded(Restarting(refused, answer(503), answer(429)), where="x")  # type: ignore[arg-type]
    assert client.count(7) == 7


@pytest.mark.parametrize(
    ("errors", "message"),
    [
        ([answer(400)], "x: Unexpected Response: 400"),
        ([ValueError("no such vector")], "x: no such vector"),
        ([ResponseHandlingException(httpx.ConnectError("refused"))] * 4, "x: the server cannot be reached: refused"),
    ],
)
def test_what_does_not_pass_is_an_error_of_ours(errors: list[Exception], message: str) -> None:
    client: Any = connection.guarded(Restarting(*errors), where="x")  # type: ignore[arg-type]
    with pytest.raises(StoreError, match=message):
        client.count(7)
