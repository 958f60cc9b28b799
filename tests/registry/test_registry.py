"""What a registry keeps, gives back and refuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from embcompat.artifact import WEIGHTS, Artifact, read_artifact
from embcompat.errors import ArtifactError, InputError, RegistryConflictError, RegistryError, UnknownNameError
from embcompat.registry import Registry
from embcompat.registry import registry as registry_module
from tests.registry.conftest import artifact, space


def test_what_is_published_comes_back(registry: Registry, artifact_3_11: Artifact, tmp_path: Path) -> None:
    entry = registry.publish(artifact_3_11.path)
    assert (entry.id, entry.manifest, entry.retired) == (artifact_3_11.id, artifact_3_11.manifest, False)
    assert registry.list_aligners() == (entry,)
    assert registry.list_spaces() == (artifact_3_11.target, artifact_3_11.source)
    fetched = registry.get(artifact_3_11.id[:8], tmp_path / "fetched")
    assert fetched.id == artifact_3_11.id
    assert fetched.path == tmp_path / "fetched"
    assert sorted(entry.name for entry in tmp_path.glob("**/.*.part")) == []
    assert registry.get(artifact_3_11.id, tmp_path / "fetched") == fetched
    assert registry.verify() == ()


def test_publishing_and_adding_twice_changes_nothing(disk: Registry, artifact_3_11: Artifact) -> None:
    disk.publish(artifact_3_11)
    files = {path: path.read_bytes() for path in Path(disk.url).rglob("*") if path.is_file()}
    disk.publish(artifact_3_11)
    disk.add_space(artifact_3_11.source)
    assert {path: path.read_bytes() for path in Path(disk.url).rglob("*") if path.is_file()} == files


def test_the_cache_is_the_users_and_mends_itself(
    registry: Registry, artifact_3_11: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    registry.publish(artifact_3_11)
    cached = registry.get(artifact_3_11.id)
    assert cached.path == tmp_path / "cache" / "embcompat" / "artifacts" / artifact_3_11.id
    (cached.path / WEIGHTS).write_bytes(b"broken")
    assert registry.get(artifact_3_11.id) == cached
    (cached.path / WEIGHTS).write_bytes(b"broken")
    with pytest.raises(ArtifactError, match="damaged"):
        registry.get(artifact_3_11.id, cached.path)


def test_get_keeps_what_is_at_the_destination(registry: Registry, artifact_3_11: Artifact, tmp_path: Path) -> None:
    registry.publish(artifact_3_11)
    other = artifact(tmp_path / "other", space("3"), space("16"))
    with pytest.raises(InputError, match="Choose another destination"):
        registry.get(artifact_3_11.id, other.path)
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


def test_promotions_the_last_one_counts(registry: Registry, artifact_3_11: Artifact) -> None:
    entry = registry.publish(artifact_3_11)
    registry.promote("production", "facenet@3", reason="first")
    registry.promote("production", "facenet@11")
    registry.promote("serving", entry.id[:6])
    assert registry.standing().labels == {"production": "facenet@11", "serving": entry.id}
    assert registry.find_space("production") == artifact_3_11.target
    assert registry.find_space("serving") == artifact_3_11.target
    assert registry.find_aligner("serving") == entry
    assert [(event.action, event.label, event.reason) for event in registry.events()] == [
        ("promote", "production", "first"),
        ("promote", "production", ""),
        ("promote", "serving", ""),
    ]
    registry.promote("previous", "production")
    assert registry.standing().labels["previous"] == "facenet@11"


def test_retired_is_readable_and_out_of_use(registry: Registry, artifact_3_11: Artifact, tmp_path: Path) -> None:
    entry = registry.publish(artifact_3_11)
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
        registry.publish(artifact_3_11)
    assert sum(event.action == "retire" for event in registry.events()) == 2


def test_the_last_reference_counts(registry: Registry) -> None:
    registry.add_space(space("3"))
    assert registry.reference(space("3")) is None
    registry.add_space(space("3"), reference=b"one")
    registry.add_space(space("3"), reference=b"two")
    assert registry.reference(space("3")) == b"two"
    assert registry.verify() == ()


def test_messages_name_what_there_is(registry: Registry, artifact_3_11: Artifact, tmp_path: Path) -> None:
    registry.publish(artifact_3_11)
    registry.promote("production", "facenet@11")
    with pytest.raises(UnknownNameError, match=r"no space called 'facenet@9'. Known: facenet@11, facenet@3, prod"):
        registry.find_space("facenet@9")
    with pytest.raises(
        UnknownNameError, match=f"no aligner called 'abcdef'. Known: {artifact_3_11.id[:12]}, production"
    ):
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


def test_a_damaged_artifact_is_not_published(registry: Registry, artifact_3_11: Artifact) -> None:
    (artifact_3_11.path / WEIGHTS).write_bytes(b"x")
    with pytest.raises(ArtifactError, match="damaged"):
        registry.publish(artifact_3_11)
    assert registry.list_spaces() == ()


# --- damage and upkeep
