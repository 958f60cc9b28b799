"""Connections to a DuckDB file."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, final

import duckdb
import pyarrow as pa

from embcompat.errors import InputError, StoreError

_BATCH: Final = "embcompat_batch"
_HOLDER: Final = re.compile(r"lock is held in (.*?) \(PID (\d+)\)")

_LOCKS: Final[dict[Path, threading.RLock]] = {}
"""One lock for each file that this process writes; no other process can write it meanwhile."""


@final
class DuckFile:
    """A DuckDB file; every thread may use it, one at a time.

    The file is opened for writing. Where another process reads it, it is opened for reading, until something is
    written.

    Args:
        path: The file.
        where: What to call the gallery in errors.

    Attributes:
        has_vss: Whether the extension with HNSW indexes is loaded; it is wherever the file has such an index and the
            extension is installed.
    """

    def __init__(self, path: Path, *, where: str) -> None:
        self._path, self._where = path, where
        self._lock = _LOCKS.setdefault(path.resolve(), threading.RLock())
        self._writable, self._depth = True, 0
        try:
            self._connection = self._connected(writable=True)
        except duckdb.Error as error:
            try:
                self._connection = self._connected(writable=False)
                self._writable = False
            except duckdb.Error:
                raise self._explained(error) from error
        self.has_vss = self.load_vss()

    def query(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a statement."""
        with self._lock, self._errors():
            return self._connection.execute(statement, values).fetchall()

    def table(self, statement: str, batch: pa.Table | None = None, values: Sequence[Any] = ()) -> pa.Table:
        """Return the rows of a statement as an Arrow table; in the statement, a batch is called {batch}."""
        with self._lock, self._errors(), self._registered(batch):
            return self._connection.execute(statement.replace("{batch}", _BATCH), values).to_arrow_table()

    def stream(self, statement: str, size: int, *, own_snapshot: bool = True) -> Iterator[pa.RecordBatch]:
        """Read the rows of a statement as they were at the start, whatever is written meanwhile.

        Args:
            statement: The statement.
            size: Most rows at a time.
            own_snapshot: Whether to read what is committed; otherwise it is read in the transaction that is open, and
                no other statement may run until the end.
        """
        with self._errors():
            cursor = self._connection.cursor() if own_snapshot else self._connection
        try:
            with self._errors():
                reader = cursor.execute(statement).to_arrow_reader(size)
            while True:
                try:
                    with self._errors():
                        batch = reader.read_next_batch()
                except StopIteration:
                    return
                if batch.num_rows:
                    yield batch
        finally:
            if own_snapshot:
                cursor.close()

    def condition_rows(self, statement: str, condition: str, values: Sequence[Any]) -> pa.Table:
        """Return the rows of a statement with a user's condition in it, as an Arrow table.

        Raises:
            InputError: If DuckDB cannot evaluate the condition.
        """
        try:
            with self._lock:
                if len(duckdb.extract_statements(f"SELECT 1 WHERE ({condition}\n)")) != 1:
                    raise InputError(f"{self._where}: a condition must be one expression. Got {condition!r}.")
                return self._connection.execute(statement, values).to_arrow_table()
        except duckdb.Error as error:
            raise InputError(f"{self._where} cannot evaluate the condition {condition!r}: {_text(error)}") from error

    @contextmanager
    def transaction(self, *, commit: bool = True) -> Iterator[None]:
        """Do everything inside in one transaction, alone among the writers of this class.

        Args:
            commit: Whether to keep what was done.
        """
        with self._lock:
            if self._depth:  # within the transaction of a switch
                yield
                return
            self.require_writable()
            self.query("BEGIN TRANSACTION")
            self._depth = 1
            try:
                yield
                self.query("COMMIT" if commit else "ROLLBACK")
            except BaseException:
                with suppress(StoreError):
                    self.query("ROLLBACK")
                raise
            finally:
                self._depth = 0

    def checkpoint(self) -> None:
        """Write the file itself, instead of the log beside it, unless another transaction is open."""
        with suppress(StoreError):
            self.query("CHECKPOINT")

    def writable(self) -> bool:
        """Return whether the file is open for writing."""
        return self._writable

    def require_writable(self) -> None:
        """Open the file for writing where it is only open for reading.

        Raises:
            StoreError: If another process has it open.
        """
        if self._writable:
            return
        self._connection.close()
        try:
            self._connection = self._connected(writable=True)
        except duckdb.Error as error:
            self._connection = self._connected(writable=False)
            raise self._explained(error) from error
        self._writable = True
        self.has_vss = self.load_vss()

    def load_vss(self) -> bool:
        """Load the extension if the file has an HNSW index and the extension is installed; never download it."""
        if not self.query("SELECT 1 FROM duckdb_indexes() WHERE sql LIKE '%USING HNSW%' LIMIT 1"):
            return False
        package = find_spec("duckdb_extension_vss")
        folders = list(package.submodule_search_locations or ()) if package is not None else []
        paths = [Path(folder) / "extensions" / f"v{duckdb.__version__}" / "vss.duckdb_extension" for folder in folders]
        for name in (*(text_literal(str(path)) for path in paths if path.is_file()), "vss"):
            with suppress(StoreError):
                self.query(f"LOAD {name}")
                self.query("SET hnsw_enable_experimental_persistence = true")
                return True
        return False

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _connected(self, *, writable: bool) -> duckdb.DuckDBPyConnection:
        return duckdb.connect(str(self._path), read_only=not writable)

    @contextmanager
    def _registered(self, batch: pa.Table | None) -> Iterator[None]:
        if batch is None:
            yield
            return
        self._connection.register(_BATCH, batch)
        try:
            yield
        finally:
            with suppress(duckdb.Error):
                self._connection.unregister(_BATCH)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except duckdb.Error as error:
            raise self._explained(error) from error

    def _explained(self, error: duckdb.Error) -> StoreError:
        text = _text(error)
        if holder := _HOLDER.search(text):
            return StoreError(
                f"{self._where} is open in another process ({holder[1]}, PID {holder[2]}), and DuckDB lets one process "
                "at a time write to a file. Close the file there, or end that process, and run the command again."
            )
        if "different configuration" in text:
            return StoreError(
                f"{self._where} is open in this process with other settings, or for reading only. Close that "
                "connection, or open it with duckdb.connect(path) and no settings."
            )
        return StoreError(f"{self._where}: {text}")


def quoted(name: str) -> str:
    """Return a name as it is written in SQL."""
    return '"' + name.replace('"', '""') + '"'


def text_literal(text: str) -> str:
    """Return a text as it is written in SQL."""
    return "'" + text.replace("'", "''") + "'"


def _text(error: duckdb.Error) -> str:
    """Return the message of DuckDB without the stack trace."""
    return str(error).partition("\nStack Trace")[0].partition("\nThis error signals")[0].strip()
