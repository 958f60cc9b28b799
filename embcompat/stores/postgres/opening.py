"""PostgreSQL with pgvector: a new table beside the one in service, or on request a new column of it.

A new table is filled by COPY and leaves the one in service untouched, up to a swap of names in one transaction. A new
column (``?target=column``) takes an UPDATE of every row, and no second copy of the other columns; what would not
follow a swap of tables (policies, materialized views, functions that name the table's type) may stay.

Either side says in four more columns, named after the vector column, where each vector came from: ``vector__space``,
``vector__artifact`` (NULL for a native vector), ``vector__source``, the digest of the row that it was made from, and
``vector__version``, the ``xmin`` of that row. ``embcompat_galleries`` says which vectors are in which space. With
``?where=``, a new column takes a part of the table: the rows that are left out have the same vector in both columns.

After the cutover a trigger refuses vectors from applications that have not declared which space they write: in the
connection's options (``-c embcompat.space=name@version``), in the settings of its role, or in the transaction
(``SELECT embcompat_space('name@version')``).
"""

from __future__ import annotations

from contextlib import ExitStack, closing

import psycopg

from embcompat.errors import InputError
from embcompat.stores.base import GalleryStore
from embcompat.stores.postgres.column.gallery import ColumnGallery
from embcompat.stores.postgres.connection import connect, explain
from embcompat.stores.postgres.table.gallery import TableGallery
from embcompat.stores.url import StoreUrl


def open_gallery(address: StoreUrl) -> GalleryStore:
    """Open ``postgresql://user@host/database#schema.table.column?key=a,b&target=column&type=halfvec&where=…``.

    By default the schema is ``public``, the key is the primary key, the target is a new table, and new vectors have the
    type of the old ones; ``where`` is a condition in SQL on columns of a row.

    Raises:
        InputError: If the address is wrong, or the table or a column is not there.
        StoreError: If the server does not answer.
    """
    if len(address.names) not in (2, 3):
        form = "postgresql://user@host/database#schema.table.column?key=id"
        raise InputError(f"the address of a PostgreSQL gallery has the form {form}. Got {address.public}.")
    galleries: dict[str, type[TableGallery | ColumnGallery]] = {"table": TableGallery, "column": ColumnGallery}
    target = address.options.get("target", "table")
    if target not in galleries:
        raise InputError(f"{address.public}: target must be {' or '.join(galleries)}. Got {target!r}.")
    if (kind := address.options.get("type", "vector")) not in ("vector", "halfvec"):
        raise InputError(f"{address.public}: type must be vector or halfvec. Got {kind!r}.")
    if "where" in address.options and target != "column":
        raise InputError(f"{address.public}: a part of a table (where) is migrated in a new column. Add target=column.")
    with ExitStack() as opened:
        reader, writer = (
            opened.enter_context(closing(connect(address.location, where=address.public))) for _ in range(2)
        )
        try:
            gallery = galleries[target](address, reader, writer)
        except psycopg.Error as error:
            raise explain(error, address.public) from error
        opened.pop_all()
    return gallery
