"""Many writers at once, and writers that die."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from embcompat.artifact import Artifact
from embcompat.errors import RegistryConflictError
from embcompat.registry import Registry
from embcompat.registry.storage import Storage
from tests.registry.conftest import all_files, artifact, space

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


def publish_at_once(registry: Registry, artifacts: list[Artifact]) -> list[str]:
    """Publish from one process each, all released at once; return what each was refused with."""
    paths = [str(each.path) for each in artifacts]
    subprocess.run([sys.executable, "-c", WRITERS, registry.url, *paths], check=True, timeout=60)
    return [each.path.with_suffix(".result").read_text() for each in artifacts]


def test_eight_processes_lose_nothing(disk: Registry, tmp_path: Path) -> None:
    artifacts = [artifact(tmp_path / f"a{number}", space("3"), space(f"1{number}"), number) for number in range(8)]
    assert publish_at_once(disk, artifacts) == [""] * 8
    assert {entry.id for entry in disk.list_aligners()} == {each.id for each in artifacts}
    assert disk.standing().labels == {f"label-a{number}": each.id for number, each in enumerate(artifacts)}
    assert len(disk.events()) == 8
    assert disk.verify() == ()


def test_eight_processes_with_one_version_one_wins(disk: Registry, tmp_path: Path) -> None:
    artifacts = [
        artifact(tmp_path / f"a{number}", space("3"), space("11", build=str(number)), number) for number in range(8)
    ]
    refused = publish_at_once(disk, artifacts)
    assert refused.count("") == 1
    winner = refused.index("")
    assert disk.find_space("facenet@11") == artifacts[winner].target
    for number, message in enumerate(refused):
        assert number == winner or f"fingerprint.build: '{winner}' != '{number}'" in message
    assert [entry.id for entry in disk.list_aligners()] == [artifacts[winner].id]
    assert disk.verify() == ()


def test_eight_threads_in_memory(tmp_path: Path) -> None:
    registry = Registry("memory://", create=True)
    different = [artifact(tmp_path / f"a{number}", space("3"), space(f"1{number}"), number) for number in range(8)]
    same = [artifact(tmp_path / f"b{number}", space("3"), space("4", build=str(number)), number) for number in range(8)]
    start = threading.Barrier(16)

    def publish(each: Artifact) -> str:
        start.wait()
        try:
            registry.publish(each)
            registry.promote(f"label-{each.path.name}", each.id)
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


def test_killed_in_the_middle_of_a_publication(artifact_3_11: Artifact, tmp_path: Path) -> None:
    registries = [Registry(tmp_path / f"registry-{writes}", create=True) for writes in range(5)]
    urls = [registry.url for registry in registries]
    process = subprocess.run(
        [sys.executable, "-c", DYING, str(artifact_3_11.path), *urls], check=True, capture_output=True, text=True
    )
    assert process.stdout.split() == [str(-signal.SIGKILL)] * 5
    for writes, registry in enumerate(registries):  # killed after so many of: two blobs, two spaces, the manifest
        assert len(all_files(registry)) == 1 + writes
        assert registry.verify() == ()
        assert registry.list_aligners() == ()
        registry.publish(artifact_3_11)
        assert registry.get(artifact_3_11.id, tmp_path / f"fetched-{writes}").id == artifact_3_11.id


def test_cut_off_anywhere_in_memory(artifact_3_11: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
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
                registry.publish(artifact_3_11)
        assert registry.verify() == ()
        assert registry.list_aligners() == ()
        assert registry.publish(artifact_3_11) in registry.list_aligners()


def test_a_write_that_is_cut_off_leaves_no_partial_file(disk: Registry) -> None:
    # What a process killed inside a write leaves on disk: a staging file, which is never listed or read.
    staging = Path(disk.url) / "blobs" / "sha256" / "ab" / ("ab" * 32 + "#1")
    staging.parent.mkdir(parents=True)
    staging.write_bytes(b"half")
    assert disk.verify() == ()
    assert disk.gc() == ()


# --- an object store over HTTP
