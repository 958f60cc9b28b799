"""Damage is found and named, garbage is collected."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from embcompat.artifact import GRAPH, MANIFEST, WEIGHTS, Artifact
from embcompat.errors import ArtifactError, RegistryError
from embcompat.registry import Registry
from embcompat.registry import registry as registry_module
from embcompat.registry.records import blob_path, event_path
from embcompat.registry.storage import Storage
from tests.registry.conftest import DAY, all_files, artifact, space


def test_verify_names_every_damaged_file(disk: Registry, artifact_3_11: Artifact) -> None:
    disk.publish(artifact_3_11)
    disk.add_space(artifact_3_11.source, reference=b"reference")
    for path in all_files(disk):
        data = path.read_bytes()
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
        damaged = {damage.path for damage in disk.verify()}
        assert path.relative_to(disk.url).as_posix() in damaged
        path.write_bytes(data)
    assert disk.verify() == ()


def test_verify_names_what_is_missing(disk: Registry, artifact_3_11: Artifact) -> None:
    disk.publish(artifact_3_11)
    disk.promote("production", "facenet@3")
    disk.promote("production", "facenet@11")
    manifests = list(Path(disk.url).glob("aligners/*/*.json"))
    for path in all_files(disk):
        if path in manifests or path.name == event_path(2).rpartition("/")[2]:
            continue  # what nothing refers to: an aligner less, or the last event, is another state and no damage
        data = path.read_bytes()
        path.unlink()
        result = disk.verify()
        assert result, path
        path.write_bytes(data)
    disk.promote("production", artifact_3_11.id)
    manifests[0].unlink()
    assert [damage.path for damage in disk.verify()] == [event_path(3)]


def test_a_damaged_or_missing_blob_is_named_and_publishing_again_mends_it(
    disk: Registry, artifact_3_11: Artifact, tmp_path: Path
) -> None:
    disk.publish(artifact_3_11)
    blob = blob_path(artifact_3_11.manifest.files[GRAPH])
    path = Path(disk.url) / blob
    path.write_bytes(b"x")
    with pytest.raises(RegistryError, match=f"{blob} in .* is damaged"):
        disk.get(artifact_3_11.id, tmp_path / "fetched")
    disk.publish(artifact_3_11)
    path.unlink()
    with pytest.raises(RegistryError, match=f"{blob} in .* is missing"):
        disk.get(artifact_3_11.id, tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()
    disk.publish(artifact_3_11)
    assert disk.get(artifact_3_11.id, tmp_path / "fetched").id == artifact_3_11.id


def test_a_swapped_manifest_or_space_is_refused(disk: Registry, artifact_3_11: Artifact, tmp_path: Path) -> None:
    disk.publish(artifact_3_11)
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


def test_publishing_over_a_damaged_manifest_is_refused(disk: Registry, artifact_3_11: Artifact) -> None:
    disk.publish(artifact_3_11)
    (manifest,) = Path(disk.url).glob("aligners/*/*.json")
    manifest.write_bytes(b"x")
    with pytest.raises(RegistryError, match=f"{artifact_3_11.id}.json in .* is damaged"):
        disk.publish(artifact_3_11)


def test_a_file_that_changes_during_publication_is_noticed(
    disk: Registry, artifact_3_11: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = Artifact.graph

    def change(self: Artifact) -> bytes:
        (self.path / WEIGHTS).write_bytes(b"changed")
        return graph(self)

    monkeypatch.setattr(Artifact, "graph", change)
    with pytest.raises(ArtifactError, match="changed while it was published"):
        disk.publish(artifact_3_11)
    assert disk.list_aligners() == ()


def test_two_that_fetch_at_once_share_one_copy(
    disk: Registry, artifact_3_11: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.publish(artifact_3_11)
    rename = Path.rename

    def beaten(self: Path, target: Path) -> Path:
        shutil.copytree(self, target)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", beaten)
    assert disk.get(artifact_3_11.id, tmp_path / "fetched").id == artifact_3_11.id
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["fetched", "old-to-new", "registry"]


def test_a_missing_event_is_refused(disk: Registry) -> None:
    disk.add_space(space("3"))
    for label in ("a", "b", "c"):
        disk.promote(label, "facenet@3")
    (Path(disk.url) / event_path(2)).unlink()
    with pytest.raises(RegistryError, match="00000002.json in .* is missing"):
        Registry(disk.url).standing()
    assert [damage.path for damage in disk.verify()] == [event_path(2)]


def test_gc_takes_only_old_blobs_that_nothing_refers_to(disk: Registry, artifact_3_11: Artifact) -> None:
    disk.publish(artifact_3_11)
    disk.add_space(artifact_3_11.source, reference=b"first")
    storage = Storage(disk.url)
    for data in (b"old", b"young"):
        storage.create(blob_path(registry_module.digest_of(data)), data)
    orphan = Path(disk.url) / blob_path(registry_module.digest_of(b"old"))
    for path in all_files(disk):
        os.utime(path, (time.time() - 8 * DAY,) * 2)
    young = Path(disk.url) / blob_path(registry_module.digest_of(b"young"))
    os.utime(young, (time.time() - 6 * DAY,) * 2)
    original = all_files(disk)
    assert [Path(disk.url) / result.path for result in disk.gc()] == [orphan]
    assert all_files(disk) == original
    assert [result.size_bytes for result in disk.gc(dry_run=False)] == [3]
    assert set(original) - set(all_files(disk)) == {orphan}
    assert disk.verify() == ()


def test_publishing_renews_the_old_blobs_it_relies_on(disk: Registry, artifact_3_11: Artifact) -> None:
    disk.publish(artifact_3_11)
    (manifest,) = Path(disk.url).glob("aligners/*/*.json")
    manifest.unlink()
    for path in all_files(disk):
        os.utime(path, (time.time() - 8 * DAY,) * 2)
    assert len(disk.gc()) == 2
    disk.publish(artifact_3_11)
    manifest.unlink()
    assert disk.gc() == ()


def test_gc_leaves_a_young_registry_alone(registry: Registry, artifact_3_11: Artifact) -> None:
    registry.publish(artifact_3_11)
    assert registry.gc(dry_run=False) == ()
    assert registry.verify() == ()


def test_gc_deletes_nothing_when_a_manifest_cannot_be_read(disk: Registry, artifact_3_11: Artifact) -> None:
    disk.publish(artifact_3_11)
    (manifest,) = Path(disk.url).glob("aligners/*/*.json")
    manifest.write_bytes(b"{}")
    for path in all_files(disk):
        os.utime(path, (time.time() - 8 * DAY,) * 2)
    original = all_files(disk)
    with pytest.raises(ArtifactError):
        disk.gc(dry_run=False)
    assert all_files(disk) == original


# --- many writers, and writers that die
