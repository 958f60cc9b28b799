"""A real S3-compatible server, moto's, in a process of its own: pyarrow may hold the lock that a thread would need."""

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
    """Run a server; yield its endpoint."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with log.open("wb") as stream:
        server = subprocess.Popen(command, stdout=stream, stderr=stream, env=os.environ | ENVIRONMENT)
    endpoint = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            if server.poll() is not None:
                raise RuntimeError(log.read_text())
            try:
                send(endpoint, "GET", "/moto-api/")
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
