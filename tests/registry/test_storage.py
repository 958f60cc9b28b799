"""An object store, over the S3 protocol."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from embcompat.artifact import GRAPH, Artifact
from embcompat.errors import RegistryConflictError, RegistryError
from embcompat.registry import Registry
from embcompat.registry.records import blob_path
from embcompat.registry.storage import Storage
from tests.registry.conftest import space


class Bucket(BaseHTTPRequestHandler):
    """The part of the S3 protocol that the registry uses: conditional PUT, GET, HEAD, DeleteObjects, ListObjectsV2."""

    protocol_version = "HTTP/1.1"
    objects: dict[str, bytes]
    guard: threading.Lock

    def key(self) -> str:
        return unquote(urlsplit(self.path).path).removeprefix("/bucket").removeprefix("/")

    def answer(self, status: int, body: bytes = b"", *, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.send_header("ETag", '"etag"')
        self.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.guard:
            taken = self.headers.get("If-None-Match") == "*" and self.key() in self.objects
            if not taken:
                self.objects[self.key()] = body
        self.answer(412 if taken else 200)

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        if "list-type" in query:
            self.answer(200, self.listing(query.get("prefix", [""])[0], query.get("start-after", [""])[0]))
        elif self.key() in self.objects:
            self.answer(200, self.objects[self.key()])
        else:
            self.answer(404)

    def listing(self, prefix: str, after: str) -> bytes:
        entries = "".join(
            f"<Contents><Key>{key}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>etag</ETag><Size>{len(data)}</Size></Contents>"
            for key, data in sorted(self.objects.items())
            if key.startswith(prefix) and key > after
        )
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>".encode()

    def do_HEAD(self) -> None:
        found = self.objects.get(self.key())
        self.answer(404 if found is None else 200, length=len(found or b""))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        keys = re.findall("<Key>(.*?)</Key>", body)
        for key in keys:
            self.objects.pop(key, None)
        deleted = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
        self.answer(200, f"<DeleteResult>{deleted}</DeleteResult>".encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    handler = type("Handler", (Bucket,), {"objects": {}, "guard": threading.Lock()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    for name, value in {
        "AWS_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    yield handler.objects
    server.shutdown()
    thread.join()
    server.server_close()


def test_over_the_s3_protocol(bucket: dict[str, bytes], made: Artifact, tmp_path: Path) -> None:
    registry = Registry("s3://bucket/team", create=True)
    registry.publish(made)
    registry.promote("production", "facenet@11")
    again = Registry("s3://bucket/team")
    assert again.find_space("production") == made.target
    assert again.get(made.id, tmp_path / "fetched").id == made.id
    with pytest.raises(RegistryConflictError, match="fingerprint.build"):
        again.add_space(space("3", build="2"))
    assert again.verify() == ()
    assert all(key.startswith("team/") for key in bucket)
    broken = "team/" + blob_path(made.manifest.files[GRAPH])
    bucket[broken] += b"x"
    assert [damage.path for damage in again.verify()] == [broken.removeprefix("team/")]
    bucket["team/" + blob_path("ab" * 32)] = b""
    assert [found.path for found in again.gc(dry_run=False)] == [blob_path("ab" * 32)]
    assert "team/" + blob_path("ab" * 32) not in bucket


def test_writers_that_meet_over_the_s3_protocol(bucket: dict[str, bytes]) -> None:
    storage = Storage("s3://bucket/team")
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda number: storage.create("one/name", str(number).encode()), range(8)))
    assert sum(won) == 1
    assert bucket["team/one/name"] == str(won.index(True)).encode()


def test_a_store_that_ignores_conditional_writes_is_refused(
    bucket: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    put = Bucket.do_PUT

    def careless(self: Bucket) -> None:
        del self.headers["If-None-Match"]
        put(self)

    monkeypatch.setattr(Bucket, "do_PUT", careless)
    with pytest.raises(RegistryError, match="it ignores conditional writes"):
        Registry("s3://bucket/team", create=True)


def test_errors_of_the_store_are_ours(disk: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(disk.url) / "events"
    folder.write_text("in the way")
    disk.add_space(space("3"))
    with pytest.raises(RegistryError, match="in .*registry"):
        disk.promote("production", "facenet@3")
