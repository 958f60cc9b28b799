from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from embcompat.aligners import AffineAligner, GramSums, fit_affine_sums
from embcompat.artifact import Artifact
from embcompat.cli.convert import convert
from embcompat.embeddings import Embeddings, PairSplit
from embcompat.errors import GateError, InputError, MigrationError
from embcompat.export import save_artifact
from embcompat.migration import convert_dataset, convert_file, sum_dataset
from embcompat.runtime import OnnxAligner

FILES, ROWS = 6, 500

command = typer.Typer()
command.command()(convert)


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    """Two Ray workers for all tests here, because starting them takes long."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


def write(path: Path, artifact: Artifact, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    vectors = np.random.default_rng(seed).standard_normal((ROWS, artifact.source.dim)).astype(np.float32)
    Embeddings(vectors, [f"{seed}-{row}" for row in range(ROWS)], artifact.source).save(path)


@dataclass(frozen=True)
class Conversion:
    """A folder, what it was converted to, and what the command printed."""

    old: Path
    new: Path
    report: dict[str, Any]

    def copy(self, folder: Path) -> tuple[Path, Path]:
        """Copy both folders, for a test that changes them."""
        return Path(shutil.copytree(self.old, folder / "old")), Path(shutil.copytree(self.new, folder / "new"))


@pytest.fixture(scope="module")
def conversion(artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Conversion:
    """Files in a folder and one in a folder below, converted by the command: every run starts processes of its own."""
    folder = tmp_path_factory.mktemp("dataset")
    old, new = folder / "old", folder / "new"
    for number in range(FILES - 1):
        write(old / f"{number}.parquet", artifact, number)
    write(old / "part=1" / "deep" / "7.PARQUET", artifact, 7)
    words = [str(artifact.path), str(old), str(new), "--workers", "2", "--batch-size", "100", "--json"]
    result = CliRunner().invoke(command, words)
    assert result.exit_code == 0, result.output
    return Conversion(old, new, json.loads(result.stdout))


def check(artifact: Artifact, old: Path, new: Path) -> None:
    aligner = OnnxAligner(artifact, threads=1)
    files = sorted(path.relative_to(old) for path in old.rglob("*"))
    assert sorted(path.relative_to(new) for path in new.rglob("*")) == files
    for file in files:
        if (old / file).is_file():
            source, embeddings = Embeddings.load(old / file), Embeddings.load(new / file)
            assert embeddings.ids.tolist() == source.ids.tolist()
            assert embeddings.space == artifact.target
            np.testing.assert_allclose(embeddings.vectors, aligner.transform(source.vectors), rtol=1e-4, atol=1e-5)


def test_the_command_converts_a_folder_and_those_below(artifact: Artifact, conversion: Conversion) -> None:
    report = conversion.report
    assert (report["files"], report["finished_before"]) == (FILES, 0)
    assert (report["rows"], report["converted_rows"]) == (FILES * ROWS, FILES * ROWS)
    check(artifact, conversion.old, conversion.new)
    again = CliRunner().invoke(command, [str(path) for path in (artifact.path, conversion.old, conversion.new)])
    assert f"{FILES} files, {FILES * ROWS:,} rows" in again.stdout
    assert "0 rows in" in again.stdout


def test_other_formats_are_refused(artifact: Artifact, tmp_path: Path) -> None:
    write(tmp_path / "old" / "0.parquet", artifact, 0)
    (tmp_path / "old" / "part=1").mkdir()
    np.save(tmp_path / "old" / "part=1" / "more.npy", np.zeros((3, artifact.source.dim), np.float32))
    with pytest.raises(InputError, match=r"1 others would be left out, for instance part=1/more\.npy"):
        convert_dataset(artifact.path, tmp_path / "old", tmp_path / "new")


def test_only_what_is_missing_or_was_made_from_something_else_is_done(
    artifact: Artifact, conversion: Conversion, tmp_path: Path
) -> None:
    old, new = conversion.copy(tmp_path)
    untouched = {path.name: path.stat().st_ino for path in new.rglob("*")}
    (new / "1.parquet").unlink()
    (new / "2.parquet").write_bytes((new / "3.parquet").read_bytes())
    write(old / "4.parquet", artifact, 99)
    write(old / "6.parquet", artifact, 6)
    (old / "5.parquet").write_bytes(b"not Parquet")
    with pytest.raises(
        MigrationError, match=r"1 of 8 files are not converted: 5.parquet. .*not a complete Parquet file"
    ):
        convert_dataset(artifact.path, old, new)
    assert not (new / "5.parquet").exists()

    write(old / "5.parquet", artifact, 5)
    report = convert_dataset(artifact.path, old, new, workers=1)
    assert (report.files, report.finished_before, report.converted_rows) == (8, 7, ROWS)
    check(artifact, old, new)
    assert all((new / f"{name}.parquet").stat().st_ino == untouched[f"{name}.parquet"] for name in (0, 3))
    assert (new / "part=1" / "deep" / "7.PARQUET").stat().st_ino == untouched["7.PARQUET"]
    assert convert_dataset(artifact.path, old, new).converted_rows == 0


def test_an_aligner_at_chance_level_converts_no_folder_unless_forced(
    artifact: Artifact, split: PairSplit, tmp_path: Path
) -> None:
    write(tmp_path / "old" / "0.parquet", artifact, 0)
    right = artifact.weights()
    turned = AffineAligner(np.roll(right["weight"], 3, axis=0), right["bias"])
    spaces = {"source": artifact.source, "target": artifact.target}
    marked = save_artifact(turned, tmp_path / "marked", split=split, canary=False, **spaces)
    with pytest.raises(GateError, match="must do better than chance"):
        convert_dataset(marked.path, tmp_path / "old", tmp_path / "new")
    assert not (tmp_path / "new").exists()
    (tmp_path / "new").mkdir()
    convert_file(marked, tmp_path / "old" / "0.parquet", tmp_path / "new" / "0.parquet", force=True)
    report = convert_dataset(marked.path, tmp_path / "old", tmp_path / "new", force=True)
    assert (report.rows, report.finished_before) == (ROWS, 1)


def workers() -> list[int]:
    """Find the busy workers of this very process's cluster."""
    result = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name = (folder / "cmdline").read_bytes().decode(errors="ignore")
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            grandparent = int((Path("/proc") / str(parent) / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if name.startswith("ray::_convert") and os.getpid() in (parent, grandparent):
            result.append(int(folder.name))
    return result


def test_a_killed_worker_loses_and_repeats_nothing(artifact: Artifact, tmp_path: Path) -> None:
    killed: list[int] = []

    @contextmanager
    def kill_one(_files: int) -> Iterator[Callable[[int], None]]:
        def advance(_count: int) -> None:
            if not killed and (result := workers()):
                killed.append(result[0])
                os.kill(result[0], signal.SIGKILL)

        yield advance

    for number in range(12):
        write(tmp_path / "old" / f"{number}.parquet", artifact, number)
    report = convert_dataset(artifact.path, tmp_path / "old", tmp_path / "new", progress=kill_one)
    assert killed
    assert report.rows == 12 * ROWS
    check(artifact, tmp_path / "old", tmp_path / "new")


def test_sums_of_parts_fit_the_same_map_as_the_whole(artifact: Artifact, conversion: Conversion) -> None:
    old, new = conversion.old, conversion.new
    train, held_out = sum_dataset(old, new, validation=0.2, seed=3)
    assert train.count + held_out.count == FILES * ROWS
    whole = GramSums(artifact.source.dim, artifact.target.dim)
    for path in sorted(old.rglob("*")):
        if path.is_file():
            whole.add(Embeddings.load(path).vectors, Embeddings.load(new / path.relative_to(old)).vectors)
    train.merge(held_out)
    np.testing.assert_allclose(train.cross_gram, whole.cross_gram, rtol=1e-8, atol=1e-8)
    fitted = fit_affine_sums(train, held_out, normalize=False)
    np.testing.assert_allclose(fitted.weight, artifact.weights()["weight"], atol=1e-3)


def test_sums_of_files_that_are_no_counterparts_are_refused(artifact: Artifact, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    write(old / "0.parquet", artifact, 0)
    with pytest.raises(InputError, match=r"must have a counterpart in .* Missing: 0.parquet"):
        sum_dataset(old, new)
    write(new / "0.parquet", artifact, 1)
    with pytest.raises(InputError, match="must hold the same ids"):
        sum_dataset(old, new, workers=1)


def test_bad_arguments(artifact: Artifact, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    with pytest.raises(InputError, match="holds no .parquet files"):
        convert_dataset(artifact.path, tmp_path / "old", tmp_path / "new")
    with pytest.raises(InputError, match="workers must be at least 1. Got 0"):
        convert_dataset(artifact.path, tmp_path / "old", tmp_path / "new", workers=0)
