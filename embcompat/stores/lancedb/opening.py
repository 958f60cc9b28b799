"""The address of a LanceDB table, and opening it."""

from __future__ import annotations

import lancedb

from embcompat.errors import InputError
from embcompat.redaction import NO_CREDENTIALS
from embcompat.stores.lancedb.gallery import LanceGallery
from embcompat.stores.url import StoreUrl

FORM = "lancedb:///folder#table.column?key=id"


def open_gallery(address: StoreUrl) -> LanceGallery:
    """Open ``lancedb:///folder#table.column?key=id``, or ``lancedb://s3://bucket/folder#…`` in an object store.

    Several key columns are separated by commas. Credentials of an object store come from its environment variables.

    Raises:
        InputError: If the table or a column is not there, or the address holds credentials.
    """
    if len(address.names) != 2:
        raise InputError(f"the address of a LanceDB gallery has the form {FORM}. Got {address.public}.")
    location = address.location.removeprefix("lancedb://")
    if "://" not in location:
        if not address.path.is_dir():
            raise InputError(f"there is no LanceDB folder {address.path}.")
        location = str(address.path)
    elif "@" in location:
        raise InputError(f"{address.public}: {NO_CREDENTIALS}")
    table, column = address.names
    try:
        database = lancedb.connect(location)
        database.open_table(table)
    except (OSError, RuntimeError, ValueError) as error:
        where = address.public.partition("#")[0]
        raise InputError(f"there is no table {table!r} in {where}: {error}") from error
    return LanceGallery(address.public, database, table, column, address.option("key", "id"))
