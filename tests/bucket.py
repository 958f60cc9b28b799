"""An object store over HTTP: the part of the S3 protocol that registries and LanceDB tables use."""

from __future__ import annotations

import re
import threading
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, unquote, urlsplit


class Bucket(BaseHTTPRequestHandler):
    """One bucket in memory, with conditional PUT, GET of a range, HEAD, DeleteObjects and ListObjectsV2."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: the second would wait 40 ms for the first's acknowledgement
    disable_nagle_algorithm = True
    objects: dict[str, bytes]
    guard: threading.Lock

    def key(self) -> str:
        return unquote(urlsplit(self.path).path).removeprefix("/bucket").removeprefix("/")

    def answer(self, status: int, body: bytes = b"", *, length: int | None = None, part: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        if part is not None:
            self.send_header("Content-Range", part)
        self.send_header("ETag", '"etag"')
        self.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.guard:
            conflict = self.headers.get("If-None-Match") == "*" and self.key() in self.objects
            if not conflict:
                self.objects[self.key()] = body
        self.answer(412 if conflict else 200)

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        if "list-type" in query:
            options = [query.get(name, [""])[0] for name in ("prefix", "start-after", "delimiter")]
            self.answer(200, self.listing(*options))
        elif self.key() not in self.objects:
            self.answer(404)
        elif requested := re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", "")):
            self.answer_range(self.objects[self.key()], *requested.groups())
        else:
            self.answer(200, self.objects[self.key()])

    def answer_range(self, data: bytes, first: str, last: str) -> None:
        start = int(first) if first else max(0, len(data) - int(last))
        end = min(len(data), int(last) + 1) if first and last else len(data)
        self.answer(206, data[start:end], part=f"bytes {start}-{end - 1}/{len(data)}")

    def listing(self, prefix: str, after: str, delimiter: str) -> bytes:
        keys = [key for key in sorted(self.objects) if key.startswith(prefix) and key > after]
        ends = {key: key.find(delimiter, len(prefix)) if delimiter else -1 for key in keys}
        folders = sorted({key[: end + 1] for key, end in ends.items() if end >= 0})
        entries = [
            f"<Contents><Key>{key}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>etag</ETag><Size>{len(self.objects[key])}</Size></Contents>"
            for key, end in ends.items()
            if end < 0
        ]
        entries += [f"<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>" for folder in folders]
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{''.join(entries)}</ListBucketResult>".encode()

    def do_HEAD(self) -> None:
        data = self.objects.get(self.key())
        self.answer(404 if data is None else 200, length=len(data or b""))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        keys = re.findall("<Key>(.*?)</Key>", body)
        for key in keys:
            self.objects.pop(key, None)
        deleted = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
        self.answer(200, f"<DeleteResult>{deleted}</DeleteResult>".encode())

    def log_message(self, format: str, *args: object) -> None:
        pass
