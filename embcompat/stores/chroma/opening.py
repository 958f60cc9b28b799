"""The address of a Chroma collection, and opening it."""

from __future__ import annotations

from embcompat.errors import InputError
from embcompat.stores.chroma.collections import ChromaCollections
from embcompat.stores.chroma.connection import local_database, remote_database
from embcompat.stores.chroma.gallery import ChromaGallery
from embcompat.stores.chroma.memos import Memos
from embcompat.stores.chroma.switching import finish_switch
from embcompat.stores.collections.rewriting import finish_rewriting
from embcompat.stores.url import FORMS, StoreUrl


def open_gallery(address: StoreUrl) -> ChromaGallery:
    """Open ``chroma:///folder#collection``, or ``chroma+http://host:port#collection?tenant=…&database=…``.

    A switch that was interrupted is ended first.

    Raises:
        InputError: If the folder or the collection is not there.
        StoreError: If the server cannot be reached.
    """
    name = ".".join(address.names)
    if not name:
        raise InputError(f"the address of a Chroma gallery has the form {FORMS['chroma']}. Got {address.public}.")
    if address.scheme == "chroma":
        if not (address.path / "chroma.sqlite3").is_file():
            raise InputError(f"there is no Chroma folder {address.path}.")
        database = local_database(address.path, where=address.public)
    else:
        location = address.location.removeprefix("chroma+")
        database = remote_database(location, address.options, where=address.public)
    try:
        finish_switch(database, Memos(database), name)
        collections = ChromaCollections(database, where=address.public)
        finish_rewriting(collections, [collection.name for collection in database.collections().values()])
        return ChromaGallery(address.public, collections, name)
    except BaseException:
        database.close()
        raise
