"""A client of Milvus whose errors are ours."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, final

from pymilvus import MilvusClient
from pymilvus.exceptions import MilvusException

from embcompat.errors import StoreError


@final
class Milvus:
    """A client of Milvus.

    Args:
        address: A path, or the address of a server.
        token: What to log in with; empty for none.
        where: Where the gallery is, for the errors.

    Raises:
        StoreError: If it cannot be opened.
    """

    def __init__(self, address: str, token: str, *, where: str) -> None:
        self._where = where
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # what it logs, it raises as well
        self._client = self._tried(MilvusClient, address, token=token)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def request(*arguments: Any, **options: Any) -> Any:
            return self._tried(method, *arguments, **options)

        return request

    def _tried(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        try:
            return method(*arguments, **options)
        except MilvusException as error:
            raise StoreError(f"{self._where}: {error.message}") from error
