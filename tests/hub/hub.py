"""A small Hugging Face Hub over HTTP: the part of its API that pushing and loading an artifact use."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_correct_horse_battery"

_ROUTES = (
    ("POST", r"/api/repos/create", "create"),
    ("POST", r"/api/validate-yaml", "validate"),
    ("GET", r"/api/models/(?P<repo>[^/]+/[^/]+)(/revision/(?P<revision>[^/]+))?", "info"),
    ("GET", r"/api/models/(?P<repo>[^/]+/[^/]+)/refs", "refs"),
    ("GET", r"/api/models/(?P<repo>[^/]+/[^/]+)/tree/(?P<revision>[^/]+)", "tree"),
    ("POST", r"/api/models/(?P<repo>[^/]+/[^/]+)/branch/(?P<revision>[^/]+)", "branch"),
    ("POST", r"/api/models/(?P<repo>[^/]+/[^/]+)/preupload/(?P<revision>[^/]+)", "preupload"),
    ("POST", r"/api/models/(?P<repo>[^/]+/[^/]+)/commit/(?P<revision>[^/]+)", "commit"),
    ("POST", r"/(?P<repo>[^/]+/[^/]+)\.git/info/lfs/objects/batch", "lfs_batch"),
    ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", "lfs_put"),
    ("GET", r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "resolve"),
)


@dataclass
class Repository:
    private: bool
    refs: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def add(self, branch: str, files: dict[str, bytes]) -> str:
        sha = hashlib.sha1(repr((len(self.commits), branch)).encode()).hexdigest()
        self.commits[sha], self.refs[branch] = files, sha
        return sha


@dataclass
class HubState:
    repositories: dict[str, Repository] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    failure: int | None = None
    """Status of every answer, where the Hub is down."""
    guard: threading.Lock = field(default_factory=threading.Lock)


class RefusalError(Exception):
    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        super().__init__(message)
        self.status, self.code = status, code


class Hub(BaseHTTPRequestHandler):
    """Public and private model repositories, branches, commits of plain and LFS files, downloads."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: the second would wait 40 ms for the first's acknowledgement
    disable_nagle_algorithm = True
    state: HubState

    def do_GET(self) -> None:
        self.route("GET")

    def do_HEAD(self) -> None:
        self.route("GET")

    def do_POST(self) -> None:
        self.route("POST")

    def do_PUT(self) -> None:
        self.route("PUT")

    def route(self, method: str) -> None:
        path = urlsplit(self.path).path
        self.body = self.read_body()
        with self.state.guard:
            self.state.requests.append(f"{self.command} {path}")
            try:
                if self.state.failure is not None:
                    raise RefusalError(self.state.failure, message="The Hub is down.")
                for verb, pattern, name in _ROUTES:
                    if verb == method and (match := re.fullmatch(pattern, path)):
                        values = {key: unquote(value) for key, value in match.groupdict().items() if value}
                        getattr(self, name)(**values)
                        return
                raise RefusalError(404, message=f"no route {method} {path}")
            except RefusalError as refusal:
                self.answer({"error": str(refusal)}, refusal.status, {"X-Error-Code": refusal.code})

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def answer(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    @property
    def signed_in(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def require_token(self) -> None:
        if not self.signed_in:
            raise RefusalError(401, message="Invalid username or password.")

    def repository(self, name: str) -> Repository:
        repository = self.state.repositories.get(name)
        if repository is None or (repository.private and not self.signed_in):
            raise RefusalError(404 if self.signed_in else 401, "RepoNotFound", "Repository not found")
        return repository

    def head(self, name: str, revision: str) -> tuple[str, dict[str, bytes]]:
        repository = self.repository(name)
        sha = repository.refs.get(revision, revision)
        if sha not in repository.commits:
            raise RefusalError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return sha, repository.commits[sha]

    def create(self) -> None:
        self.require_token()
        wish = json.loads(self.body)
        name = f"{wish['organization']}/{wish['name']}"
        if wish["organization"] == "somebody-else":
            raise RefusalError(403, message="You don't have the rights to create a model under this namespace")
        private = wish.get("visibility") == "private" or wish.get("private") is True
        self.state.repositories[name] = Repository(private)
        self.state.repositories[name].add("main", {".gitattributes": b"*.onnx filter=lfs\n"})
        self.answer({"url": f"http://{self.headers['Host']}/{name}"})

    def validate(self) -> None:
        content = json.loads(self.body)["content"]
        valid = re.match(r"---\n(.+\n)+---\n", content) is not None
        self.answer({"errors": [] if valid else [{"message": "no metadata"}], "warnings": []}, 200 if valid else 400)

    def info(self, repo: str, revision: str = "main") -> None:
        sha, files = self.head(repo, revision)
        siblings = [{"rfilename": path} for path in files]
        self.answer({"id": repo, "sha": sha, "private": self.repository(repo).private, "siblings": siblings})

    def refs(self, repo: str) -> None:
        branches = [
            {"name": name, "ref": f"refs/heads/{name}", "targetCommit": sha}
            for name, sha in self.repository(repo).refs.items()
        ]
        self.answer({"branches": branches, "converts": [], "tags": []})

    def tree(self, repo: str, revision: str) -> None:
        _, files = self.head(repo, revision)
        entries = [
            {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
            for path, data in files.items()
        ]
        self.answer(entries)

    def branch(self, repo: str, revision: str) -> None:
        self.require_token()
        repository = self.repository(repo)
        if revision in repository.refs:
            raise RefusalError(409, message="Reference already exists")
        repository.refs[revision] = repository.refs["main"]
        self.answer({})

    def preupload(self, repo: str, revision: str) -> None:
        self.require_token()
        self.head(repo, revision)
        files = json.loads(self.body)["files"]
        modes = {
            file["path"]: "lfs" if file["path"].endswith((".onnx", ".safetensors")) else "regular" for file in files
        }
        self.answer(
            {"files": [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in modes.items()]}
        )

    def lfs_batch(self, repo: str) -> None:
        self.require_token()
        self.repository(repo)
        objects = [
            {**wish, "actions": {"upload": {"href": f"http://{self.headers['Host']}/lfs/{wish['oid']}"}}}
            for wish in json.loads(self.body)["objects"]
        ]
        self.answer({"transfer": "basic", "objects": objects})

    def lfs_put(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise RefusalError(422, message="the digest does not match")
        self.state.blobs[oid] = self.body
        self.answer({})

    def commit(self, repo: str, revision: str) -> None:
        self.require_token()
        sha, files = self.head(repo, revision)
        lines = [json.loads(line) for line in self.body.splitlines()]
        if lines[0]["value"].get("parentCommit", sha) != sha:
            raise RefusalError(412, message="A commit has happened since.")
        changed = dict(files)
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                changed[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                changed[value["path"]] = self.state.blobs[value["oid"]]
            elif line["key"] == "deletedFile":
                del changed[value["path"]]
        oid = self.repository(repo).add(revision, changed)
        url = f"http://{self.headers['Host']}/{repo}/commit/{oid}"
        self.answer({"commitUrl": url, "commitOid": oid})

    def resolve(self, repo: str, revision: str, path: str) -> None:
        sha, files = self.head(repo, revision)
        if path not in files:
            raise RefusalError(404, "EntryNotFound", "Entry not found")
        data = files[path]
        self.answer(data, headers={"X-Repo-Commit": sha, "ETag": f'"{hashlib.sha1(data).hexdigest()}"'})

    def log_message(self, format: str, *args: object) -> None:
        pass
