"""Conversion from and to an object store."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from embcompat.artifact import Artifact
from embcompat.cli.convert import convert
from embcompat.embeddings import Embeddings
from embcompat.errors import FileFormatError, InputError, StoreError
from embcompat.files.objects import ObjectPath, location
from embcompat.files.writing.parts import journal_path, part_path
from embcompat.migration import convert_file
from tests.s3 import send


def put(path: str, file: Path) -> str:
    target = location(path)
    assert isinstance(target, ObjectPath)
    target.upload(file)
    return path


def table(path: str) -> pa.Table:
    target = location(path)
    assert isinstance(target, ObjectPath)
    return pq.read_table(pa.BufferReader(target.read_bytes()))


@pytest.fixture
def local(artifact: Artifact, source: Path, tmp_path: Path) -> pa.Table:
    """What the same conversion gives on this machine."""
    convert_file(artifact, source, tmp_path / "local.parquet", batch_size=100)
    return pq.read_table(tmp_path / "local.parquet")


def test_an_object_is_converted_as_a_file_is(artifact: Artifact, source: Path, local: pa.Table, s3: str) -> None:
    report = convert_file(artifact, put(f"{s3}/old.parquet", source), f"{s3}/new/ä b.parquet", batch_size=100)
    assert (report.rows, report.resumed_rows, report.target) == (1000, 0, f"{s3}/new/ä b.parquet")
    assert table(f"{s3}/new/ä b.parquet").equals(local)
    metadata = {key: value for key, value in local.schema.metadata.items() if key != b"embcompat.provenance"}
    assert metadata.items() <= table(f"{s3}/new/ä b.parquet").schema.metadata.items()
    assert Embeddings.load(f"{s3}/new").space == artifact.target
    with pytest.raises(InputError, match="exists already"):
        convert_file(artifact, f"{s3}/old.parquet", f"{s3}/new/ä b.parquet")
    with pytest.raises(InputError, match="target must be another file than the source"):
        convert_file(artifact, f"{s3}/old.parquet", f"{s3}/old.parquet", overwrite=True)


def test_either_side_may_be_on_this_machine(
    artifact: Artifact, source: Path, local: pa.Table, s3: str, tmp_path: Path
) -> None:
    convert_file(artifact, source, f"{s3}/new.parquet")
    assert table(f"{s3}/new.parquet").equals(local)
    convert_file(artifact, put(f"{s3}/old.parquet", source), tmp_path / "new.parquet")
    assert pq.read_table(tmp_path / "new.parquet").equals(local)


FAILING = """
import os, signal, sys
from embcompat.files.objects import paths, uploads
from embcompat.migration import convert_file
whole = paths.slices_of
def slices(file):
    uploads.UPLOAD_BYTES = 20_000
    yield next(whole(file))
    if sys.argv[4] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    raise OSError("the disk is broken")
paths.slices_of = slices
convert_file(sys.argv[1], sys.argv[2], sys.argv[3], batch_size=100)
"""


@pytest.mark.parametrize("failure", ["killed", "error"])
def test_a_failed_upload_shows_nothing_and_is_repeated_without_converting(
    failure: str,
    artifact: Artifact,
    source: Path,
    local: pa.Table,
    s3: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    target = f"{s3}/new.parquet"
    command = [sys.executable, "-c", FAILING, str(artifact.path), str(source), target, failure]
    process = subprocess.run(command, check=False, capture_output=True, text=True)
    assert process.returncode == (-signal.SIGKILL if failure == "killed" else 1)
    assert failure == "killed" or "the disk is broken" in process.stderr
    assert not location(target).exists()
    assert part_path(location(target)).parent == tmp_path / f"embcompat-{os.getuid()}"
    report = convert_file(artifact, source, target, batch_size=100)
    assert (report.rows, report.resumed_rows) == (1000, 1000)
    assert table(target).equals(local)
    assert not journal_path(location(target)).exists()
    assert not part_path(location(target)).exists()


def test_google_cloud_storage(artifact: Artifact, source: Path, local: pa.Table, gs: str, tmp_path: Path) -> None:
    old = put(f"{gs}/a folder/ä.parquet", source)
    convert_file(artifact, old, f"{gs}/new/b.parquet", batch_size=100)
    assert table(f"{gs}/new/b.parquet").equals(local)
    assert Embeddings.load(f"{gs}/new").space == artifact.target
    convert_file(artifact, old, tmp_path / "new.parquet", batch_size=100)
    assert pq.read_table(tmp_path / "new.parquet").equals(local)
    with pytest.raises(InputError, match="exists already"):
        convert_file(artifact, old, f"{gs}/new/b.parquet")
    with pytest.raises(FileFormatError, match=r"none\.parquet"):
        convert_file(artifact, f"{gs}/none.parquet", f"{gs}/new/c.parquet")
    with pytest.raises(InputError, match="there is no bucket 'none'"):
        convert_file(artifact, "gs://none/old.parquet", f"{gs}/new/c.parquet")


def test_a_file_that_was_cut_is_not_uploaded(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"0123456789")
    put(f"{s3}/file", file)
    monkeypatch.setattr("embcompat.files.objects.paths.slices_of", lambda _file: iter([b"0123"]))
    with pytest.raises(StoreError, match="the file had 10 bytes, and 4 of them could be read"):
        put(f"{s3}/file", file)
    target = location(f"{s3}/file")
    assert isinstance(target, ObjectPath)
    assert target.read_bytes() == b"0123456789"


def test_an_open_folder_of_temporary_files_is_refused(
    artifact: Artifact, source: Path, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / f"embcompat-{os.getuid()}").mkdir()
    (tmp_path / f"embcompat-{os.getuid()}").chmod(0o755)
    with pytest.raises(InputError, match="must be a folder of this user that nobody else can open"):
        convert_file(artifact, source, f"{s3}/new.parquet")


def test_a_refused_upload_is_repeated_without_converting(
    artifact: Artifact, source: Path, s3: str, s3_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = ObjectPath.upload

    def refused(*arguments: object) -> None:
        send(s3_server, "POST", "/moto-api/reset-auth", b"0", **{"Content-Type": "text/plain"})
        try:
            upload(*arguments)  # type: ignore[arg-type]
        finally:
            send(s3_server, "POST", "/moto-api/reset-auth", b"inf", **{"Content-Type": "text/plain"})

    with monkeypatch.context() as patch:
        patch.setattr(ObjectPath, "upload", refused)
        with pytest.raises(StoreError, match="cannot write"):
            convert_file(artifact, source, f"{s3}/new.parquet")
    assert not location(f"{s3}/new.parquet").exists()
    assert convert_file(artifact, source, f"{s3}/new.parquet").resumed_rows == 1000


def test_the_command_takes_addresses(artifact: Artifact, source: Path, s3: str) -> None:
    put(f"{s3}/old.parquet", source)
    app = typer.Typer()
    app.command()(convert)
    result = CliRunner().invoke(app, [str(artifact.path), f"{s3}/old.parquet", f"{s3}/new.parquet"])
    assert f"{s3}/new.parquet: 1,000 rows" in result.stdout
    result = CliRunner().invoke(app, [str(artifact.path), f"{s3}/*.parquet", f"{s3}/all.parquet", "--json"])
    assert isinstance(result.exception, Exception)  # one of them is converted already
    assert "must all be of one space" in str(result.exception)
