"""The address of a Qdrant collection, and opening it."""

from __future__ import annotations

import os

from qdrant_client import QdrantClient

from embcompat.errors import InputError, StoreError
from embcompat.stores.qdrant.collection.gallery import CollectionGallery
from embcompat.stores.qdrant.connection import guarded, require_server
from embcompat.stores.qdrant.gallery import QdrantGallery
from embcompat.stores.qdrant.vector.gallery import VectorGallery
from embcompat.stores.url import StoreUrl

_GALLERIES = {"collection": CollectionGallery, "vector": VectorGallery}
_TIMEOUT_SECONDS = 60


def open_gallery(address: StoreUrl) -> QdrantGallery:
    """Open ``qdrant+http://host:port#alias``, ``…#alias.vector``, or ``qdrant+local:///folder#alias``.

    With ``?target=vector`` the name may be a collection's own, and the converted vectors become a new named vector of
    it. The API key of a server is taken from the environment variable ``QDRANT_API_KEY``.

    Raises:
        InputError: If there is no such alias, collection or vector.
        StoreError: If the server cannot be reached, or another process has the folder open.
    """
    if len(address.names) not in (1, 2):
        raise InputError(
            "the address of a Qdrant gallery has the form qdrant+http://host:port#alias[.vector]. "
            f"Got {address.public}."
        )
    side = address.options.get("target", "collection")
    if side not in _GALLERIES:
        raise InputError(f"{address.public}: target must be collection or vector. Got {side!r}.")
    client = _local(address) if address.scheme == "qdrant+local" else _remote(address)
    try:
        if address.scheme != "qdrant+local":
            require_server(client, named_vectors=side == "vector", where=address.public)
        return _GALLERIES[side](address.public, guarded(client, where=address.public), *address.names)
    except BaseException:
        client.close()
        raise


def _remote(address: StoreUrl) -> QdrantClient:
    return QdrantClient(
        url=address.location.removeprefix("qdrant+"),
        api_key=os.environ.get("QDRANT_API_KEY"),
        check_compatibility=False,
        timeout=_TIMEOUT_SECONDS,
    )


def _local(address: StoreUrl) -> QdrantClient:
    if not address.path.is_dir():
        raise InputError(f"there is no Qdrant folder {address.path}.")
    try:
        return QdrantClient(path=str(address.path))
    except RuntimeError as error:
        raise StoreError(f"{address.public}: {error}") from error
