from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import pytest

from embcompat.aligners import AffineAligner
from embcompat.artifact import GRAPH, MANIFEST, WEIGHTS, Artifact, read_artifact
from embcompat.errors import ArtifactError, InputError, RegistryConflictError, RegistryError, UnknownNameError
from embcompat.export import save_artifact
from embcompat.registry import Registry
from embcompat.registry import registry as registry_module
from embcompat.registry.records import blob_path, event_path
from embcompat.registry.storage import Storage
from embcompat.spaces import SpaceVersion

DAY = 86_400.0


def space(version: str, name: str = "facenet", **fingerprint: str) -> SpaceVersion:
    return SpaceVersion(name=name, version=version, dim=3, fingerprint=dict(fingerprint))


def artifact(path: Path, source: SpaceVersion, target: SpaceVersion, seed: int = 0) -> Artifact:
    weight = np.random.default_rng(seed).standard_normal((3, 3))
    return save_artifact(AffineAligner(weight, np.zeros(3)), path, source=source, target=target)


@pytest.fixture(params=["disk", "memory"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Registry:
    return Registry("memory://" if request.param == "memory" else tmp_path / "registry", create=True)


@pytest.fixture
def disk(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry", create=True)


@pytest.fixture
def made(tmp_path: Path) -> Artifact:
    return artifact(tmp_path / "old-to-new", space("3"), space("11"))


def test_what_is_published_comes_back(registry: Registry, made: Artifact, tmp_path: Path) -> None:
    entry = registry.publish(made.path)
    assert (entry.id, entry.manifest, entry.retired) == (made.id, made.manifest, False)
    assert registry.list_aligners() == (entry,)
    assert registry.list_spaces() == (made.target, made.source)
    fetched = registry.get(made.id[:8], tmp_path / "fetched")
    assert fetched.id == made.id
    assert fetched.path == tmp_path / "fetched"
    assert sorted(entry.name for entry in tmp_path.glob("**/.*.part")) == []
    assert registry.get(made.id, tmp_path / "fetched") == fetched
    assert registry.verify() == ()


def test_publishing_and_adding_twice_changes_nothing(disk: Registry, made: Artifact) -> None:
    disk.publish(made)
    files = {path: path.read_bytes() for path in Path(disk.url).rglob("*") if path.is_file()}
    disk.publish(made)
    disk.add_space(made.source)
    assert {path: path.read_bytes() for path in Path(disk.url).rglob("*") if path.is_file()} == files


def test_the_cache_is_the_users_and_mends_itself(
    registry: Registry, made: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    registry.publish(made)
    cached = registry.get(made.id)
    assert cached.path == tmp_path / "cache" / "embcompat" / "artifacts" / made.id
    (cached.path / WEIGHTS).write_bytes(b"broken")
    assert registry.get(made.id) == cached
    (cached.path / WEIGHTS).write_bytes(b"broken")
    with pytest.raises(ArtifactError, match="damaged"):
        registry.get(made.id, cached.path)


def test_get_keeps_what_is_at_the_destination(registry: Registry, made: Artifact, tmp_path: Path) -> None:
    registry.publish(made)
    other = artifact(tmp_path / "other", space("3"), space("16"))
    with pytest.raises(InputError, match="Choose another destination"):
        registry.get(made.id, other.path)
    assert read_artifact(other.path) == other


def test_a_changed_fingerprint_is_refused_with_both_values(registry: Registry, tmp_path: Path) -> None:
    registry.add_space(space("3", prompt="query: "))
    registry.add_space(space("3", prompt="query: "))
    with pytest.raises(RegistryConflictError, match=r"fingerprint.prompt: 'query: ' != 'passage: '"):
        registry.add_space(space("3", prompt="passage: "))
    other = artifact(tmp_path / "a", space("3"), space("11"))
    with pytest.raises(RegistryConflictError, match=r"fingerprint.prompt: 'query: ' != None"):
        registry.publish(other)
    assert registry.list_aligners() == ()
    assert [known.id for known in registry.list_spaces()] == ["facenet@3"]


def test_promotions_the_last_one_counts(registry: Registry, made: Artifact) -> None:
    entry = registry.publish(made)
    registry.promote("production", "facenet@3", reason="first")
    registry.promote("production", "facenet@11")
    registry.promote("serving", entry.id[:6])
    assert registry.standing().labels == {"production": "facenet@11", "serving": entry.id}
    assert registry.find_space("production") == made.target
    assert registry.find_space("serving") == made.target
    assert registry.find_aligner("serving") == entry
    assert [(event.action, event.label, event.reason) for event in registry.events()] == [
        ("promote", "production", "first"),
        ("promote", "production", ""),
        ("promote", "serving", ""),
    ]
    registry.promote("previous", "production")
    assert registry.standing().labels["previous"] == "facenet@11"


def test_retired_is_readable_and_out_of_use(registry: Registry, made: Artifact, tmp_path: Path) -> None:
    entry = registry.publish(made)
    registry.promote("production", entry.id)
    with pytest.raises(RegistryError, match="cannot be retired: it is production"):
        registry.retire(entry.id)
    registry.promote("production", "facenet@11")
    registry.retire(entry.id, reason="leaks")
    registry.retire(entry.id)
    registry.retire("facenet@3")
    assert registry.list_aligners() == ()
    assert [known.id for known in registry.list_spaces()] == ["facenet@11"]
    assert [entry.retired for entry in registry.list_aligners(retired=True)] == [True]
    assert registry.standing().retired == {entry.id, "facenet@3"}
    assert registry.get(entry.id, tmp_path / "fetched").id == entry.id
    with pytest.raises(RegistryError, match="was retired, so it cannot be promoted"):
        registry.promote("production", entry.id)
    with pytest.raises(RegistryError, match="was retired, so it is not published again"):
        registry.publish(made)
    assert sum(event.action == "retire" for event in registry.events()) == 2


def test_the_last_reference_counts(registry: Registry) -> None:
    registry.add_space(space("3"))
    assert registry.reference(space("3")) is None
    registry.add_space(space("3"), reference=b"one")
    registry.add_space(space("3"), reference=b"two")
    assert registry.reference(space("3")) == b"two"
    assert registry.verify() == ()


def test_messages_name_what_there_is(registry: Registry, made: Artifact, tmp_path: Path) -> None:
    registry.publish(made)
    registry.promote("production", "facenet@11")
    with pytest.raises(UnknownNameError, match=r"no space called 'facenet@9'. Known: facenet@11, facenet@3, prod"):
        registry.find_space("facenet@9")
    with pytest.raises(UnknownNameError, match=f"no aligner called 'abcdef'. Known: {made.id[:12]}, production"):
        registry.find_aligner("abcdef")
    with pytest.raises(UnknownNameError, match="no aligner called 'production'"):
        registry.get("production", tmp_path / "x")
    with pytest.raises(InputError, match="a label must be a plain lower-case name"):
        registry.promote("a b", "facenet@3")
    with pytest.raises(InputError, match="a label must be a plain lower-case name"):
        registry.promote("abcdef", "facenet@3")


def test_an_ambiguous_prefix_is_refused(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = registry.publish(artifact(tmp_path / "a", space("3"), space("11"), seed=1))
    registry.publish(artifact(tmp_path / "b", space("3"), space("11"), seed=2))
    monkeypatch.setattr(registry_module, "_ID_PREFIX", re.compile("[0-9a-f]*"))
    with pytest.raises(InputError, match="Got 2"):
        registry.find_aligner("")
    assert registry.find_aligner(first.id) == first


def test_places_that_are_no_registry(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no registry at"):
        Registry(tmp_path)
    with pytest.raises(InputError, match=r"there is no folder '.*missing'. Make one with: embcompat registry init"):
        Registry(tmp_path / "missing")
    with pytest.raises(InputError, match="no storage can be opened at 'nonsense://x'"):
        Registry("nonsense://x")
    (tmp_path / "registry.json").write_text('{"schema_version":2}')
    with pytest.raises(RegistryError, match="has schema version 2; this embcompat reads version 1"):
        Registry(tmp_path)
    Registry(f"file://{tmp_path / 'new'}", create=True)
    assert Registry(tmp_path / "new").verify() == ()


def test_a_damaged_artifact_is_not_published(registry: Registry, made: Artifact) -> None:
    (made.path / WEIGHTS).write_bytes(b"x")
    with pytest.raises(ArtifactError, match="damaged"):
        registry.publish(made)
    assert registry.list_spaces() == ()


# --- damage and upkeep


def all_files(registry: Registry) -> list[Path]:
    return sorted(path for path in Path(registry.url).rglob("*") if path.is_file())


def test_verify_names_every_damaged_file(disk: Registry, made: Artifact) -> None:
    disk.publish(made)
    disk.add_space(made.source, reference=b"reference")
    for path in all_files(disk):
        data = path.read_bytes()
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
        damaged = {damage.path for damage in disk.verify()}
        assert path.relative_to(disk.url).as_posix() in damaged
        path.write_bytes(data)
    assert disk.verify() == ()


def test_verify_names_what_is_missing(disk: Registry, made: Artifact) -> None:
    disk.publish(made)
    disk.promote("production", "facenet@3")
    disk.promote("production", "facenet@11")
    manifests = list(Path(disk.url).glob("aligners/*/*.json"))
    for path in all_files(disk):
        if path in manifests or path.name == event_path(2).rpartition("/")[2]:
            continue  # what nothing refers to: an aligner less, or the last event, is another state and no damage
        data = path.read_bytes()
        path.unlink()
        found = disk.verify()
        assert found, path
        path.write_bytes(data)
    disk.promote("production", made.id)
    manifests[0].unlink()
    assert [damage.path for damage in disk.verify()] == [event_path(3)]


def test_a_damaged_or_missing_blob_is_named_and_publishing_again_mends_it(
    disk: Registry, made: Artifact, tmp_path: Path
) -> None:
    disk.publish(made)
    blob = blob_path(made.manifest.files[GRAPH])
    path = Path(disk.url) / blob
    path.write_bytes(b"x")
    with pytest.raises(RegistryError, match=f"{blob} in .* is damaged"):
        disk.get(made.id, tmp_path / "fetched")
    disk.publish(made)
    path.unlink()
    with pytest.raises(RegistryError, match=f"{blob} in .* is missing"):
        disk.get(made.id, tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()
    disk.publish(made)
    assert disk.get(made.id, tmp_path / "fetched").id == made.id


def test_a_swapped_manifest_or_space_is_refused(disk: Registry, made: Artifact, tmp_path: Path) -> None:
    disk.publish(made)
    other = artifact(tmp_path / "other", space("3"), space("11"), seed=5)
    (manifest,) = Path(disk.url).glob("aligners/*/*.json")
    manifest.write_bytes((other.path / MANIFEST).read_bytes())
    again = Registry(disk.url)
    with pytest.raises(RegistryError, match="is damaged: its SHA-256 is"):
        again.list_aligners()
    known = Path(disk.url) / "spaces" / "facenet" / "3.json"
    known.write_bytes((known.parent / "11.json").read_bytes())
    with pytest.raises(RegistryError, match="is damaged: it holds facenet@11"):
        again.list_spaces()
    assert {damage.path.partition("/")[0] for damage in again.verify()} == {"aligners", "spaces"}


def test_publishing_over_a_damaged_manifest_is_refused(disk: Registry, made: Artifact) -> None:
    disk.publish(made)
    (manifest,) = Path(disk.url).glob("aligners/*/*.json")
    manifest.write_bytes(b"x")
    with pytest.raises(RegistryError, match=f"{made.id}.json in .* is damaged"):
        disk.publish(made)


def test_a_file_that_changes_during_publication_is_noticed(
    disk: Registry, made: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = Artifact.graph

    def change(self: Artifact) -> bytes:
        (self.path / WEIGHTS).write_bytes(b"changed")
        return graph(self)

    monkeypatch.setattr(Artifact, "graph", change)
    with pytest.raises(ArtifactError, match="changed while it was published"):
        disk.publish(made)
    assert disk.list_aligners() == ()


def test_two_that_fetch_at_once_share_one_copy(
    disk: Registry, made: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.publish(made)
    rename = Path.rename

    def beaten(self: Path, target: Path) -> Path:
        shutil.copytree(self, target)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", beaten)
    assert disk.get(made.id, tmp_path / "fetched").id == made.id
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["fetched", "old-to-new", "registry"]


def test_a_missing_event_is_refused(disk: Registry) -> None:
    disk.add_space(space("3"))
    for label in ("a", "b", "c"):
        disk.promote(label, "facenet@3")
    (Path(disk.url) / event_path(2)).unlink()
    with pytest.raises(RegistryError, match="00000002.json in .* is missing"):
        Registry(disk.url).standing()
    assert [damage.path for damage in disk.verify()] == [event_path(2)]


def test_gc_takes_only_old_blobs_that_nothing_refers_to(disk: Registry, made: Artifact) -> None:
    disk.publish(made)
    disk.add_space(made.source, reference=b"first")
    storage = Storage(disk.url)
    for data in (b"old", b"young"):
        storage.create(blob_path(registry_module.digest_of(data)), data)
    orphan = Path(disk.url) / blob_path(registry_module.digest_of(b"old"))
    for path in all_files(disk):
        os.utime(path, (time.time() - 8 * DAY,) * 2)
    young = Path(disk.url) / blob_path(registry_module.digest_of(b"young"))
    os.utime(young, (time.time() - 6 * DAY,) * 2)
    before = all_files(disk)
    assert [Path(disk.url) / found.path for found in disk.gc()] == [orphan]
    assert all_files(disk) == before
    assert [found.size_bytes for found in disk.gc(dry_run=False)] == [3]
    assert set(before) - set(all_files(disk)) == {orphan}
    assert disk.verify() == ()


def test_publishing_renews_the_old_blobs_it_relies_on(disk: Registry, made: Artifact) -> None:
    disk.publish(made)
    (manifest,) = Path(disk.url).glob("aligners/*/*.json")
    manifest.unlink()
    for path in all_files(disk):
        os.utime(path, (time.time() - 8 * DAY,) * 2)
    assert len(disk.gc()) == 2
    disk.publish(made)
    manifest.unlink()
    assert disk.gc() == ()


def test_gc_leaves_a_young_registry_alone(registry: Registry, made: Artifact) -> None:
    registry.publish(made)
    assert registry.gc(dry_run=False) == ()
    assert registry.verify() == ()


def test_gc_deletes_nothing_when_a_manifest_cannot_be_read(disk: Registry, made: Artifact) -> None:
    disk.publish(made)
    (manifest,) = Path(disk.url).glob("aligners/*/*.json")
    manifest.write_bytes(b"{}")
    for path in all_files(disk):
        os.utime(path, (time.time() - 8 * DAY,) * 2)
    before = all_files(disk)
    with pytest.raises(ArtifactError):
        disk.gc(dry_run=False)
    assert all_files(disk) == before


# --- many writers, and writers that die

WRITERS = """
import json, os, sys
from pathlib import Path
from embcompat.artifact import read_artifact
from embcompat.errors import RegistryConflictError
from embcompat.registry import Registry

def write(url, made, turn):
    registry = Registry(url)
    turn.read(1)  # blocks until the parent closes the other end
    try:
        registry.publish(made)
        registry.promote(f"label-{made.name}", read_artifact(made).id)
        return ""
    except RegistryConflictError as error:
        return str(error)

url, *made = sys.argv[1:]
read_artifact(made[0]).graph()  # imports what publishing imports, once for all
reader, writer = os.pipe()
children = []
for each in map(Path, made):
    child = os.fork()
    if child == 0:
        os.close(writer)
        message = write(url, each, os.fdopen(reader))
        each.with_suffix(".result").write_text(message)
        os._exit(0)
    children.append(child)
os.close(writer)
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
sys.exit(any(codes))
"""


def publish_at_once(registry: Registry, made: list[Artifact]) -> list[str]:
    """Publish from one process each, all released at once; return what each was refused with."""
    paths = [str(each.path) for each in made]
    subprocess.run([sys.executable, "-c", WRITERS, registry.url, *paths], check=True, timeout=60)
    return [each.path.with_suffix(".result").read_text() for each in made]


def test_eight_processes_lose_nothing(disk: Registry, tmp_path: Path) -> None:
    made = [artifact(tmp_path / f"a{number}", space("3"), space(f"1{number}"), number) for number in range(8)]
    assert publish_at_once(disk, made) == [""] * 8
    assert {entry.id for entry in disk.list_aligners()} == {each.id for each in made}
    assert disk.standing().labels == {f"label-a{number}": each.id for number, each in enumerate(made)}
    assert len(disk.events()) == 8
    assert disk.verify() == ()


def test_eight_processes_with_one_version_one_wins(disk: Registry, tmp_path: Path) -> None:
    made = [
        artifact(tmp_path / f"a{number}", space("3"), space("11", build=str(number)), number) for number in range(8)
    ]
    refused = publish_at_once(disk, made)
    assert refused.count("") == 1
    winner = refused.index("")
    assert disk.find_space("facenet@11") == made[winner].target
    for number, message in enumerate(refused):
        assert number == winner or f"fingerprint.build: '{winner}' != '{number}'" in message
    assert [entry.id for entry in disk.list_aligners()] == [made[winner].id]
    assert disk.verify() == ()


def test_eight_threads_in_memory(tmp_path: Path) -> None:
    registry = Registry("memory://", create=True)
    different = [artifact(tmp_path / f"a{number}", space("3"), space(f"1{number}"), number) for number in range(8)]
    same = [artifact(tmp_path / f"b{number}", space("3"), space("4", build=str(number)), number) for number in range(8)]
    start = threading.Barrier(16)

    def publish(made: Artifact) -> str:
        start.wait()
        try:
            registry.publish(made)
            registry.promote(f"label-{made.path.name}", made.id)
        except RegistryConflictError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(publish, [*different, *same]))
    assert results[:8] == [""] * 8
    assert sorted(bool(result) for result in results[8:]) == [False] + [True] * 7
    assert all("fingerprint.build" in result for result in results[8:] if result)
    assert len(registry.list_aligners()) == 9
    assert len(registry.events()) == 9
    assert registry.verify() == ()


DYING = """
import os, signal, sys
from embcompat.registry import Registry
from embcompat.registry.storage import Storage
create = Storage.create

def publish_and_die(url, made, writes):
    registry, left = Registry(url), iter(range(writes))
    def counted(self, path, data):
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return create(self, path, data)
    Storage.create = counted
    registry.publish(made)

made, *urls = sys.argv[1:]
for writes, url in enumerate(urls):
    child = os.fork()
    if child == 0:
        publish_and_die(url, made, writes)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_killed_in_the_middle_of_a_publication(made: Artifact, tmp_path: Path) -> None:
    registries = [Registry(tmp_path / f"registry-{writes}", create=True) for writes in range(5)]
    urls = [registry.url for registry in registries]
    done = subprocess.run(
        [sys.executable, "-c", DYING, str(made.path), *urls], check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == [str(-signal.SIGKILL)] * 5
    for writes, registry in enumerate(registries):  # killed after so many of: two blobs, two spaces, the manifest
        assert len(all_files(registry)) == 1 + writes
        assert registry.verify() == ()
        assert registry.list_aligners() == ()
        registry.publish(made)
        assert registry.get(made.id, tmp_path / f"fetched-{writes}").id == made.id


def test_cut_off_anywhere_in_memory(made: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    create = Storage.create
    for writes in range(5):
        registry = Registry("memory://", create=True)
        left = iter([True] * writes)

        def cut(self: Storage, path: str, data: bytes, left: Iterator[bool] = left) -> bool:
            if not next(left, False):
                raise KeyboardInterrupt
            return create(self, path, data)

        with monkeypatch.context() as patch:
            patch.setattr(Storage, "create", cut)
            with pytest.raises(KeyboardInterrupt):
                registry.publish(made)
        assert registry.verify() == ()
        assert registry.list_aligners() == ()
        assert registry.publish(made) in registry.list_aligners()


def test_a_write_that_is_cut_off_leaves_no_partial_file(disk: Registry) -> None:
    # What a process killed inside a write leaves on disk: a staging file, which is never listed or read.
    staging = Path(disk.url) / "blobs" / "sha256" / "ab" / ("ab" * 32 + "#1")
    staging.parent.mkdir(parents=True)
    staging.write_bytes(b"half")
    assert disk.verify() == ()
    assert disk.gc() == ()


# --- an object store over HTTP


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
