"""Servers of object stores, each in a process of its own: pyarrow may hold the lock that a thread would need."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError

SECRET = "correct-horse-battery"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@contextmanager
def serve_s3(log: Path) -> Iterator[str]:
    """Run a real S3-compatible server, moto's; yield its endpoint."""
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p"]
    with _serve(command, "/moto-api/", log) as endpoint:
        yield endpoint


@contextmanager
def serve_gcs(log: Path) -> Iterator[str]:
    """Run an emulator of Google Cloud Storage; yield its endpoint."""
    start = "from gcp_storage_emulator.__main__ import main; main()"
    command = [sys.executable, "-c", start, "start", "--in-memory", "--host", "127.0.0.1", "--port"]
    with _serve(command, "/storage/v1/b", log) as endpoint:
        yield endpoint


@contextmanager
def _serve(command: list[str], ready: str, log: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with log.open("wb") as stream:
        server = subprocess.Popen([*command, str(port)], stdout=stream, stderr=stream, env=os.environ | ENVIRONMENT)
    endpoint = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            if server.poll() is not None:
                raise RuntimeError(log.read_text())
            try:
                send(endpoint, "GET", ready)
                break
            except URLError:
                time.sleep(0.05)
        yield endpoint
    finally:
        server.kill()
        server.wait()


def send(endpoint: str, method: str, path: str, data: bytes | None = None, **headers: str) -> bytes:
    """Send a request past pyarrow, for instance to make a bucket."""
    request = urllib.request.Request(f"{endpoint}{path}", data=data, method=method, headers=headers)
    with urllib.request.urlopen(request) as answer:
        return bytes(answer.read())
