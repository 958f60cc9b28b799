"""Clients of Chroma whose errors are ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, final
from urllib.parse import urlsplit

import chromadb
from chromadb.config import Settings
from chromadb.errors import ChromaError, NotFoundError

from embcompat.errors import StoreError

_PORTS: Final = {"http": 8000, "https": 443}


@final
class ChromaDatabase:
    """The collections of a Chroma database, each of them looked up by name for every request.

    Args:
        client: A client.
        where: Where the database is, for the errors.
    """

    def __init__(self, client: Any, *, where: str) -> None:
        self._client, self._where = client, where

    def collection(self, name: str) -> Any:
        """Return a collection as it is called now, or None."""
        try:
            return self.call(self._client.get_collection, name, embedding_function=None)
        except StoreError as error:
            if isinstance(error.__cause__, NotFoundError):
                return None
            raise

    def collections(self) -> dict[str, Any]:
        """Return all collections by their unique id."""
        return {str(entry.id): entry for entry in self.call(self._client.list_collections)}

    def create(self, name: str, **settings: Any) -> Any:
        """Make a collection, or return it where it is there."""
        return self.call(self._client.get_or_create_collection, name, **settings)

    def drop(self, name: str) -> None:
        """Delete a collection, if it is there."""
        if self.collection(name) is not None:
            self.call(self._client.delete_collection, name)

    def upsert(self, collection: Any, ids: Sequence[str], embeddings: Any, **columns: Sequence[Any] | None) -> None:
        """Insert or change records; a None among the values of a column leaves out that value of that record."""
        values_of = {name: values for name, values in columns.items() if values is not None}
        groups: dict[tuple[bool, ...], list[int]] = {}
        for row in range(len(ids)):
            groups.setdefault(tuple(values[row] is None for values in values_of.values()), []).append(row)
        for absent, rows in groups.items():
            present = [name for name, missing in zip(values_of, absent, strict=True) if not missing]
            self.call(
                collection.upsert,
                ids=[ids[row] for row in rows],
                embeddings=[embeddings[row] for row in rows],
                **{name: [values_of[name][row] for row in rows] for name in present},
            )

    def call(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call a method of the client or of a collection.

        Raises:
            StoreError: If it fails.
        """
        try:
            return method(*arguments, **options)
        except (ChromaError, ValueError, TypeError, OSError) as error:
            raise StoreError(f"{self._where}: {error}") from error
        except Exception as error:  # of the transport, whose classes are not Chroma's
            raise StoreError(f"{self._where}: the server cannot be reached: {error}") from error

    def close(self) -> None:
        """Let go of the folder or the connection."""
        self._client.close()


def local_database(folder: Path, *, where: str) -> ChromaDatabase:
    """Open a folder of Chroma; this process shares it with other clients of its own."""
    settings = Settings(anonymized_telemetry=False)
    try:
        return ChromaDatabase(chromadb.PersistentClient(str(folder), settings=settings), where=where)
    except Exception as error:  # of Chroma's bindings, whose classes cannot be listed
        raise StoreError(f"{where} cannot be opened: {error}") from error


def remote_database(address: str, options: dict[str, str], *, where: str) -> ChromaDatabase:
    """Connect to a server; credentials come from the variables that Chroma's own client reads."""
    parts = urlsplit(address)
    client = _connected(parts, options, where)
    return ChromaDatabase(client, where=where)


def _connected(parts: Any, options: dict[str, Any], where: str) -> Any:
    try:
        return chromadb.HttpClient(
            host=parts.hostname or "localhost",
            port=parts.port or _PORTS[parts.scheme],
            ssl=parts.scheme == "https",
            settings=Settings(anonymized_telemetry=False),
            **options,
        )
    except Exception as error:  # of the transport, whose classes are not Chroma's
        raise StoreError(f"{where}: the server cannot be reached: {error}") from error
