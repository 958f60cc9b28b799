"""The address of a Milvus collection, and opening it."""

from __future__ import annotations

import os

from embcompat.errors import InputError
from embcompat.stores.collections.rewriting import finish_rewriting
from embcompat.stores.milvus.collections import MilvusCollections
from embcompat.stores.milvus.connection import Milvus
from embcompat.stores.milvus.gallery import MilvusGallery
from embcompat.stores.url import FORMS, StoreUrl


def open_gallery(address: StoreUrl) -> MilvusGallery:
    """Open ``milvus:///file.db#alias.field``, or ``milvus+http://host:port#alias.field``.

    What to log in to a server with is taken from the environment variable ``MILVUS_TOKEN``.

    Raises:
        InputError: If the file, the alias or the field is not there.
        StoreError: If the server cannot be reached, or another process has the file open.
    """
    if len(address.names) != 2:
        raise InputError(f"the address of a Milvus gallery has the form {FORMS['milvus']}. Got {address.public}.")
    location = address.location.removeprefix("milvus+")
    if address.scheme == "milvus":
        if address.path.suffix != ".db" or not address.path.exists():
            raise InputError(f"there is no Milvus file {address.path}. Its name must end in .db.")
        location = str(address.path)
    client = Milvus(location, os.environ.get("MILVUS_TOKEN", ""), where=address.public)
    alias, field = address.names
    try:
        lite = address.scheme == "milvus"
        collections = MilvusCollections(client, alias, field, lite=lite, where=address.public)
        finish_rewriting(collections, client.list_collections())
        return MilvusGallery(address.public, collections, alias, field)
    except BaseException:
        client.close()
        raise
