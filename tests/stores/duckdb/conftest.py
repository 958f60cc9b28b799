from __future__ import annotations

from typing import Any

import duckdb
import pytest


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let DuckDB work with one thread: for queries of a few rows, starting more costs a third of the time."""
    connect = duckdb.connect

    def connect_with_one_thread(*arguments: Any, **options: Any) -> duckdb.DuckDBPyConnection:
        connection = connect(*arguments, **options)
        connection.execute("SET threads = 1")
        return connection

    monkeypatch.setattr(duckdb, "connect", connect_with_one_thread)
