"""The address of a Qdrant collection, and opening it."""

from __future__ import annotations

import os

from qdrant_client import QdrantClient
from qdrant_client.http.exceptions import ApiException

from embcompat.errors import InputError, StoreError
from embcompat.stores.qdrant.gallery import QdrantGallery
from embcompat.stores.url import StoreUrl


def open_gallery(address: StoreUrl) -> QdrantGallery:
    """Open ``qdrant+http://host:port#alias``, ``…#alias.vector``, or ``qdrant+local:///folder#alias``.

    Raises:
        InputError: If there is no such alias or vector, or no connection.
        StoreError: If another process has the folder open.
    """
    if len(address.names) not in (1, 2):
        raise InputError(f"a Qdrant gallery is written qdrant+http://host:port#alias[.vector]. Got {address.public}.")
    if address.scheme != "qdrant+local":
        url = address.location.removeprefix("qdrant+")
        client = QdrantClient(url=url, api_key=os.environ.get("QDRANT_API_KEY"), check_compatibility=False)
    elif not address.path.is_dir():
        raise InputError(f"there is no Qdrant folder {address.path}.")
    else:
        try:
            client = QdrantClient(path=str(address.path))
        except RuntimeError as error:
            raise StoreError(f"{address.public}: {error}") from error
    try:
        return QdrantGallery(address.public, client, *address.names)
    except ApiException as error:
        client.close()
        raise InputError(f"{address.public}: the server cannot be reached: {error}") from error
    except BaseException:
        client.close()
        raise
