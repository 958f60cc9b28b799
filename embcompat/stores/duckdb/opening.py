"""The address of a DuckDB table, and opening it."""

from __future__ import annotations

from embcompat.errors import InputError
from embcompat.stores.duckdb.catalog import find_table, read_table, require_unique
from embcompat.stores.duckdb.connection import DuckFile
from embcompat.stores.duckdb.gallery import DuckGallery
from embcompat.stores.url import FORMS, StoreUrl


def open_gallery(address: StoreUrl) -> DuckGallery:
    """Open ``duckdb:///file.db#schema.table.column?key=id``.

    Raises:
        InputError: If the file, the table or a column is not there, or the key does not name each row.
        StoreError: If the file is no database, or another process writes it.
    """
    if len(address.names) not in (2, 3):
        raise InputError(f"the address of a DuckDB gallery has the form {FORMS['duckdb']}. Got {address.public}.")
    if not address.path.is_file():
        raise InputError(f"there is no DuckDB file {address.path}.")
    keys = address.option("key", "") if "key" in address.options else None
    file = DuckFile(address.path, where=address.public)
    try:
        *names, column = address.names
        schema, name = find_table(file, names, where=address.public)
        table = read_table(file, schema, name, column, keys, where=address.public)
        require_unique(file, table, where=address.public)
        return DuckGallery(address.public, file, table)
    except BaseException:
        file.close()
        raise
