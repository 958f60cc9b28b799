"""The address of an index, and opening it."""

from __future__ import annotations

import re

from embcompat.errors import InputError
from embcompat.stores.opensearch.connection import Product, connect
from embcompat.stores.opensearch.gallery import IndexGallery
from embcompat.stores.opensearch.indexes import Indexes
from embcompat.stores.url import FORMS, StoreUrl


def open_gallery(address: StoreUrl) -> IndexGallery:
    """Open ``opensearch+https://host:9200#index.field``, or ``elasticsearch+https://host:9200#index.field``.

    Raises:
        InputError: If the index or the field is not there, or cannot be converted.
        MissingExtraError: If the client of the product is not installed.
        StoreError: If the server does not answer.
    """
    if len(address.names) < 2 or re.search(r"[*,?<>|\s/\\]|^[_-]", address.names[0]):
        form = FORMS[address.scheme]
        raise InputError(f"the address of this gallery has the form {form}, with one index. Got {address.public}.")
    name, *path = address.names
    scheme, _, location = address.location.partition("+")
    product: Product = "opensearch" if scheme == "opensearch" else "elasticsearch"
    server = connect(location, product, where=address.public)
    try:
        indexes = Indexes(server, name, tuple(path), where=address.public)
        return IndexGallery(address.public, indexes, name, ".".join(path))
    except BaseException:
        server.close()
        raise
