"""Connections to a SQLite file with sqlite-vec loaded."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Final, final

import sqlite_vec

from embcompat.errors import MissingExtraError, StoreError

_WAIT_SECONDS: Final = 60.0
"""How long a lock is waited for [ours]: another process may be writing."""


def driver() -> ModuleType:
    """Return the module of SQLite that loads extensions: Python's own where it does, otherwise ``pysqlite3``.

    Raises:
        MissingExtraError: If neither does.
    """
    if hasattr(sqlite3.Connection, "enable_load_extension"):
        return sqlite3
    try:
        return import_module("pysqlite3")
    except ImportError as error:
        reason = "The sqlite3 module of this Python loads no extensions. A gallery at sqlite:"
        raise MissingExtraError("pysqlite3-binary", "embcompat[sqlite]", reason) from error


@final
class SqliteFile:
    """A connection to a SQLite file; every thread may use it, one at a time.

    Args:
        path: The file.
        where: What to call it in errors.
    """

    def __init__(self, path: Path, *, where: str) -> None:
        self._where, self._driver = where, driver()
        self._lock = threading.RLock()
        with self._errors():
            self._connection: Any = self._driver.connect(
                str(path), isolation_level=None, timeout=_WAIT_SECONDS, check_same_thread=False
            )
            self._connection.enable_load_extension(True)
            sqlite_vec.load(self._connection)
            self._connection.enable_load_extension(False)
            self._connection.execute("PRAGMA legacy_alter_table = ON")  # views keep the name that they read

    def query(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a statement."""
        with self._lock, self._errors():
            rows: list[tuple[Any, ...]] = self._connection.execute(statement, values).fetchall()
            return rows

    def execute_many(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement for each row."""
        with self._lock, self._errors():
            self._connection.executemany(statement, rows)

    @contextmanager
    def transaction(self, *, writes: bool = True) -> Iterator[None]:
        """Do everything inside in one transaction, which may be open; one that writes holds other writers meanwhile."""
        with self._lock:
            if self._connection.in_transaction:
                yield
                return
            self.query("BEGIN IMMEDIATE" if writes else "BEGIN")
            try:
                yield
                self.query("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self.query("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except self._driver.Error as error:
            raise StoreError(f"{self._where}: {error}") from error


def quoted(name: str) -> str:
    """Return a name as it is written in SQL."""
    return '"' + name.replace('"', '""') + '"'
