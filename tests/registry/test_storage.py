"""An object store, over the S3 protocol."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from embcompat.artifact import GRAPH, Artifact
from embcompat.errors import InputError, RegistryConflictError, RegistryError
from embcompat.registry import Registry
from embcompat.registry.records import blob_path
from embcompat.registry.storage import Storage
from tests.bucket import Bucket
from tests.registry.conftest import space


def test_over_the_s3_protocol(bucket: dict[str, bytes], artifact_3_11: Artifact, tmp_path: Path) -> None:
    registry = Registry("s3://bucket/team", create=True)
    registry.publish(artifact_3_11)
    registry.promote("production", "facenet@11")
    again = Registry("s3://bucket/team")
    assert again.find_space("production") == artifact_3_11.target
    assert again.get(artifact_3_11.id, tmp_path / "fetched").id == artifact_3_11.id
    with pytest.raises(RegistryConflictError, match="fingerprint.build"):
        again.add_space(space("3", build="2"))
    assert again.verify() == ()
    assert all(key.startswith("team/") for key in bucket)
    broken = "team/" + blob_path(artifact_3_11.manifest.files[GRAPH])
    bucket[broken] += b"x"
    assert [damage.path for damage in again.verify()] == [broken.removeprefix("team/")]
    bucket["team/" + blob_path("ab" * 32)] = b""
    assert [result.path for result in again.gc(dry_run=False)] == [blob_path("ab" * 32)]
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
    with pytest.raises(RegistryError, match="ignores conditional writes"):
        Registry("s3://bucket/team", create=True)


def test_errors_of_the_store_are_ours(disk: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(disk.url) / "events"
    folder.write_text("in the way")
    disk.add_space(space("3"))
    with pytest.raises(RegistryError, match="in .*registry"):
        disk.promote("production", "facenet@3")


def test_credentials_in_the_address_are_refused(bucket: dict[str, bytes]) -> None:
    with pytest.raises(InputError, match="s3://me@bucket/team: .* must not hold credentials"):
        Registry("s3://me:pass/word@bucket/team", create=True)
    assert not bucket
