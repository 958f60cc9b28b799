"""The address of a vec0 table, and opening it."""

from __future__ import annotations

from embcompat.errors import InputError
from embcompat.stores.sqlite.connection import SqliteFile
from embcompat.stores.sqlite.gallery import SqliteGallery
from embcompat.stores.sqlite.tables import SqliteTables
from embcompat.stores.url import FORMS, StoreUrl


def open_gallery(address: StoreUrl) -> SqliteGallery:
    """Open ``sqlite:///file.db#table.column``.

    Raises:
        InputError: If the file, the table or the column is not there.
        StoreError: If the file is no database, or is locked.
        MissingExtraError: If no module of SQLite that loads extensions is installed.
    """
    if len(address.names) != 2:
        raise InputError(f"the address of a sqlite-vec gallery has the form {FORMS['sqlite']}. Got {address.public}.")
    if not address.path.is_file():
        raise InputError(f"there is no SQLite file {address.path}.")
    file = SqliteFile(address.path, where=address.public)
    try:
        table, column = address.names
        tables = SqliteTables(file, column, where=address.public)
        table = tables.declared(table)
        column = tables.definition(table).vector
        return SqliteGallery(address.public, SqliteTables(file, column, where=address.public), table, column)
    except BaseException:
        file.close()
        raise
