"""The commits that add a vector column to a Lance table, and put it into service in the place of another one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pyarrow as pa

from embcompat.stores.lancedb.columns import PROVENANCE, hiding, quoted, renames, storage_type, visibility
from embcompat.stores.lancedb.commits import commit

REQUIRED_KEY: Final = b"embcompat.required"
"""Field metadata of a target column whose source column refuses NULL."""


def add_target(table: Any, column: str, target: str, dim: int, metadata: dict[bytes, bytes]) -> None:
    """Add a hidden column for vectors of the type of another one, and its provenance, unless another worker did."""
    if target in table.schema.names:
        return
    source = table.schema.field(column)
    metadata = metadata | {key.encode(): value.encode() for key, value in hiding(dim).items()}
    if not source.nullable:
        metadata[REQUIRED_KEY] = b"true"
    kind = pa.list_(storage_type(source.type).value_type, dim)
    fields = [pa.field(f"{target}__{name}", provenance) for name, provenance in PROVENANCE.items()]
    table.add_columns([pa.field(target, kind, metadata=metadata), *fields])


def exchange(open_table: Callable[[], Any], column: str, *, parked: str, entering: str, where: str) -> None:
    """Give one vector column the name of another, which is parked under a third name, in two small commits.

    The first shows the entering column to queries that do not name theirs, and hides the other one from them. The
    second renames both, with their provenance. So no query fails at any moment: one that names the column follows the
    second commit, one that does not follows the first. In the moment between them, rows that bring a vector are refused
    ("does not match the file schema"). Killed there, the same call finishes the work.

    Args:
        open_table: Opens the newest version of the table.
        column: The name in service.
        parked: The name that the column in service gets.
        entering: The name of the column that comes into service.
        where: Where the table is, for errors.
    """

    def show(table: Any) -> object:
        dim = storage_type(table.schema.field(column).type).list_size
        return table.update_field_metadata(*visibility(entering, column, dim))

    def rename(table: Any) -> object:
        changes = renames({column: parked, entering: column}, table.schema.names)
        nullable = {"path": column, "rename": parked, "nullable": True}  # rows that come later have no vector there
        return table.alter_columns(*[nullable if change["path"] == column else change for change in changes])

    commit(open_table, show, where=where)
    commit(open_table, rename, where=where)


def require_vectors(open_table: Callable[[], Any], column: str, *, where: str) -> None:
    """Make a column refuse NULL, unless it holds some."""

    def require(table: Any) -> object:
        if table.count_rows(f"{quoted(column)} IS NULL"):
            return None
        return table.alter_columns({"path": column, "nullable": False})

    commit(open_table, require, where=where)
