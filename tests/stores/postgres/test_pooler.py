"""A real PgBouncer in transaction mode between the migration and the server."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from embcompat.errors import InputError
from embcompat.migration import cut_over, run_migration
from embcompat.runtime import OnnxAligner
from embcompat.stores import open_store

DIM = 24


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(params=["", "ignore_startup_parameters = options"])
def pooler(request: pytest.FixtureRequest, database: Any, tmp_path: Path) -> Iterator[str]:
    """Address of the pooler, which refuses our options or drops them."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("PgBouncer is an outside server and is not installed here")
    place = conninfo_to_dict(database.server)
    settings = tmp_path / "pgbouncer.ini"
    port = free_port()
    settings.write_text(
        f"[databases]\npostgres = host={place['host']} user={place['user']} dbname={place['dbname']}\n[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\n"
        f"{request.param}\n"
    )
    owner = Path(str(place["host"])).owner()  # of the server's socket; PgBouncer does not run as root
    user = [] if os.geteuid() else ["-u", owner]
    process = subprocess.Popen([program, "-q", *user, str(settings)])
    address = f"postgresql://{place['user']}@127.0.0.1:{port}/postgres"
    try:
        for _ in range(50):
            try:
                psycopg.connect(address).close()
                break
            except psycopg.OperationalError:
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize("target", ["?target=table", "?target=column"])
def test_a_pooler_in_transaction_mode_is_refused_in_words(database: Any, pooler: str, target: str) -> None:
    database.execute(f"CREATE TABLE docs (id integer PRIMARY KEY, v vector({DIM}))")
    database.fill("docs", 5)
    with psycopg.connect(pooler) as application:
        assert application.execute("SELECT 1").fetchone() == (1,)
    schema = database.one("SELECT current_schema()")
    with pytest.raises(InputError, match="the pooler in between does not pass that on. Give the address of the server"):
        open_store(f"{pooler}#{schema}.docs.v{target}")


@pytest.mark.parametrize("target", ["?target=table", "?target=column"])
def test_a_setting_that_another_client_left_on_the_connection_opens_nothing(
    database: Any, aligner: OnnxAligner, pooler: str, target: str
) -> None:
    database.execute(f"CREATE TABLE docs (id integer PRIMARY KEY, v vector({DIM}))")
    database.fill("docs", 5)
    with database.opened(target) as store:
        run_migration(aligner, store)
        cut_over(aligner, store)
    schema = database.one("SELECT current_schema()")
    write = f"INSERT INTO {schema}.docs (id, v) VALUES (%s, '{[0.5] * 16}')"
    with (
        psycopg.connect(pooler, autocommit=True, prepare_threshold=None) as new,
        psycopg.connect(pooler, autocommit=True, prepare_threshold=None) as old,
    ):
        new.execute("SET embcompat.space = 'made-new@1'")
        assert old.execute("SHOW embcompat.space").fetchone() == ("made-new@1",), "the pooler shares the connection"
        with pytest.raises(psycopg.errors.CheckViolation, match="A plain SET does not count"):
            old.execute(write, (100,))
        with new.transaction():
            new.execute(f"SELECT {schema}.embcompat_space('made-new@1')")
            new.execute(write, (101,))
        with pytest.raises(psycopg.errors.CheckViolation):
            old.execute(write, (102,))
    assert database.one("SELECT array_agg(id) FROM docs WHERE id > 99") == [101]
