"""Connections to PostgreSQL: their settings, and errors in our own words."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from embcompat.errors import EmbcompatError, InputError, StoreError
from embcompat.stores.base import GalleryStore

SETTINGS: Final = {
    "row_security": "off",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "default_tablespace": "",
}
"""What every connection of ours sets. ``row_security = off`` lets a statement fail from which a policy would hide rows:
without it a count would take the visible rows for the whole table."""

_TRIES = 6
_FIRST_WAIT_SECONDS = 0.1
_PASSING = ("starting up", "shutting down", "recovery", "refused", "too many", "terminating", "closed the connection")

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def connect(location: str, *, where: str) -> psycopg.Connection[Any]:
    """Connect to a server, with our settings; try again for a few seconds where it is starting up.

    No statement is prepared, so that a pooler may stand in between, and the schema of pgvector is on the search path.

    Args:
        location: The address, with the password if there is one.
        where: What to call it in errors.

    Raises:
        InputError: If the address cannot be right, or a pooler drops our settings.
        StoreError: If the server does not answer.
    """
    options = conninfo_to_dict(location).get("options") or ""
    ours = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
    for attempt in range(_TRIES):
        try:
            connection = psycopg.connect(
                location, autocommit=True, prepare_threshold=None, options=f"{options} {ours}".strip()
            )
            break
        except psycopg.OperationalError as error:
            text = str(error)
            if "unsupported startup parameter" in text:
                raise InputError(_needs_direct(where)) from error
            if not any(word in text for word in _PASSING):
                raise InputError(f"{where}: cannot connect: {text}") from error
            if attempt == _TRIES - 1:
                raise StoreError(f"{where}: cannot connect after {_TRIES} tries: {text}") from error
            time.sleep(_FIRST_WAIT_SECONDS * 2**attempt)
    try:
        _check_settings(connection, where)
    except BaseException:
        connection.close()
        raise
    return connection


def _check_settings(connection: psycopg.Connection[Any], where: str) -> None:
    row = connection.execute("SHOW row_security").fetchone()
    if row is None or row[0] != "off":
        raise InputError(_needs_direct(where))
    schema = connection.execute(
        "SELECT nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE extname = 'vector' "
        "AND NOT nspname = ANY (current_schemas(true))"
    ).fetchone()
    if schema is not None:
        path = sql.Identifier(schema[0]).as_string(connection)
        connection.execute(
            "SELECT set_config('search_path', concat_ws(', ', nullif(current_setting('search_path'), ''), %s::text), "
            "false)",
            (path,),
        )


def extension_schema(connection: psycopg.Connection[Any]) -> sql.Identifier:
    """Return the schema in which pgvector's types and operators are."""
    row = connection.execute(
        "SELECT nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE extname = 'vector'"
    ).fetchone()
    return sql.Identifier(row[0] if row is not None else "public")


def _needs_direct(where: str) -> str:
    return (
        f"{where}: a migration needs a session of its own with row_security = off, and the pooler in between does not "
        "pass that on. Give the address of the server itself, or of a pool in session mode that tracks options."
    )


def explain(error: psycopg.Error, where: str) -> StoreError:
    """Say what a server refused, and what helps."""
    text = str(error).strip()
    if "row-level security" in text:
        text += (
            " Row security would hide rows from the migration, so that their vectors would be lost. Run it as a role "
            "with BYPASSRLS, or as the table's owner where row security is not forced."
        )
    elif isinstance(error, psycopg.errors.InsufficientPrivilege):
        text += " The migrating role must own the table and be allowed to create tables in its schema."
    elif isinstance(error, psycopg.errors.DataException) and "dimensions, not" in text:
        text += " A row holds a vector of another length than the first one: delete it, or move it to another table."
    elif isinstance(error, psycopg.OperationalError):
        text += " Run the same command again: it resumes where it stopped."
    return StoreError(f"{where}: {text}")


_SPOKEN: Final = [
    name
    for name in dir(GalleryStore)
    if callable(member := getattr(GalleryStore, name))
    and not name.startswith("__")
    and not getattr(member, "__final__", False)
]
"""Methods of a gallery that the base does not keep for itself."""


def speak_in_our_words(gallery: type[GalleryStore]) -> None:
    """Let every method of a gallery, and every hook that a verb of the base calls, raise our own errors."""
    for name in _SPOKEN:
        setattr(gallery, name, in_our_words(getattr(gallery, name)))


def in_our_words(method: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Let a method of a gallery raise `StoreError` where the driver raises its own errors."""

    @wraps(method)
    def wrapper(*arguments: Parameters.args, **options: Parameters.kwargs) -> Result:
        where = str(getattr(arguments[0], "url", ""))
        try:
            result = method(*arguments, **options)
        except psycopg.Error as error:
            raise explain(error, where) from error
        return _guarded(result, where) if isinstance(result, Iterator) else result  # type: ignore[return-value]

    return wrapper


def _guarded(rows: Iterator[Any], where: str) -> Iterator[Any]:
    try:
        yield from rows
    except EmbcompatError:
        raise
    except psycopg.Error as error:
        raise explain(error, where) from error
