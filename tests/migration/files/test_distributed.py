from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

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
from embcompat.migration import convert_dataset, sum_dataset
from embcompat.runtime import OnnxAligner

FILES, ROWS = 6, 500


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    """Two Ray workers for all tests here, because starting them takes long."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture
def old(artifact: Artifact, tmp_path: Path) -> Path:
    (tmp_path / "old").mkdir()
    for number in range(FILES):
        write(tmp_path / "old" / f"{number}.parquet", artifact, number)
    return tmp_path / "old"


def write(path: Path, artifact: Artifact, seed: int) -> None:
    vectors = np.random.default_rng(seed).standard_normal((ROWS, artifact.source.dim)).astype(np.float32)
    Embeddings(vectors, [f"{seed}-{row}" for row in range(ROWS)], artifact.source).save(path)


def check(artifact: Artifact, old: Path, new: Path) -> None:
    aligner = OnnxAligner(artifact, threads=1)
    assert sorted(entry.name for entry in new.iterdir()) == sorted(entry.name for entry in old.iterdir())
    for path in old.iterdir():
        source, embeddings = Embeddings.load(path), Embeddings.load(new / path.name)
        assert embeddings.ids.tolist() == source.ids.tolist()
        assert embeddings.space == artifact.target
        np.testing.assert_allclose(embeddings.vectors, aligner.transform(source.vectors), rtol=1e-4, atol=1e-5)


def test_only_what_is_missing_or_was_made_from_something_else_is_done(
    artifact: Artifact, old: Path, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    report = convert_dataset(artifact.path, old, new, batch_size=100)
    assert (report.files, report.finished_before, report.rows, report.converted_rows) == (6, 0, 3000, 3000)
    check(artifact, old, new)
    untouched = {path.name: path.stat().st_ino for path in new.iterdir()}

    (new / "1.parquet").unlink()
    (new / "2.parquet").write_bytes((new / "3.parquet").read_bytes())
    write(old / "4.parquet", artifact, 99)
    write(old / "6.parquet", artifact, 6)
    report = convert_dataset(artifact.path, old, new)
    assert (report.files, report.finished_before, report.converted_rows) == (7, 3, 4 * ROWS)
    check(artifact, old, new)
    assert all((new / f"{number}.parquet").stat().st_ino == untouched[f"{number}.parquet"] for number in (0, 3, 5))
    assert convert_dataset(artifact.path, old, new).converted_rows == 0


def test_an_aligner_at_chance_level_converts_no_folder_unless_forced(
    artifact: Artifact, split: PairSplit, old: Path, tmp_path: Path
) -> None:
    right = artifact.weights()
    turned = AffineAligner(np.roll(right["weight"], 3, axis=0), right["bias"])
    spaces = {"source": artifact.source, "target": artifact.target}
    marked = save_artifact(turned, tmp_path / "marked", split=split, canary=False, **spaces)
    with pytest.raises(GateError, match="must do better than chance"):
        convert_dataset(marked.path, old, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert convert_dataset(marked.path, old, tmp_path / "new", force=True).rows == FILES * ROWS


def test_folders_below_are_converted_and_other_formats_refused(artifact: Artifact, old: Path, tmp_path: Path) -> None:
    (old / "part=1" / "deep").mkdir(parents=True)
    write(old / "part=1" / "deep" / "7.PARQUET", artifact, 7)
    report = convert_dataset(artifact.path, old, tmp_path / "new")
    assert (report.files, report.rows) == (7, 7 * ROWS)
    assert len(Embeddings.load(tmp_path / "new" / "part=1" / "deep" / "7.PARQUET")) == ROWS
    np.save(old / "part=1" / "more.npy", np.zeros((3, artifact.source.dim), np.float32))
    with pytest.raises(InputError, match=r"1 others would be left out, for instance part=1/more\.npy"):
        convert_dataset(artifact.path, old, tmp_path / "new")


def test_the_command_converts_a_folder(artifact: Artifact, old: Path, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(convert)
    arguments = [str(path) for path in (artifact.path, old, tmp_path / "new")]
    result = CliRunner().invoke(app, [*arguments, "--workers", "2", "--json"])
    assert json.loads(result.stdout)["converted_rows"] == FILES * ROWS
    again = CliRunner().invoke(app, arguments)
    assert f"{FILES} files, {FILES * ROWS:,} rows" in again.stdout
    assert "0 rows in" in again.stdout
    check(artifact, old, tmp_path / "new")


def workers() -> list[int]:
    """Find the actors of this very process's cluster."""
    result = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name = (folder / "cmdline").read_bytes().decode(errors="ignore")
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            grandparent = int((Path("/proc") / str(parent) / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if name.startswith("ray::MapWorker") and os.getpid() in (parent, grandparent):
            result.append(int(folder.name))
    return result


def test_a_killed_worker_loses_and_repeats_nothing(artifact: Artifact, old: Path, tmp_path: Path) -> None:
    killed: list[int] = []

    @contextmanager
    def kill_one(_files: int) -> Iterator[Callable[[int], None]]:
        def advance(_count: int) -> None:
            if not killed and (result := workers()):
                killed.append(result[0])
                os.kill(result[0], signal.SIGKILL)

        yield advance

    for number in range(FILES, 12):
        write(old / f"{number}.parquet", artifact, number)
    report = convert_dataset(artifact.path, old, tmp_path / "new", progress=kill_one)
    assert killed
    assert report.rows == 12 * ROWS
    check(artifact, old, tmp_path / "new")


def test_a_bad_file_is_named_and_all_others_are_done(artifact: Artifact, old: Path, tmp_path: Path) -> None:
    (old / "2.parquet").write_bytes(b"not Parquet")
    with pytest.raises(
        MigrationError, match=r"1 of 6 files are not converted: 2.parquet. .*not a complete Parquet file"
    ):
        convert_dataset(artifact.path, old, tmp_path / "new")
    assert len(list((tmp_path / "new").glob("[!.]*"))) == 5
    write(old / "2.parquet", artifact, 2)
    assert convert_dataset(artifact.path, old, tmp_path / "new").converted_rows == ROWS


def test_sums_of_parts_fit_the_same_map_as_the_whole(artifact: Artifact, old: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    convert_dataset(artifact.path, old, new)
    train, held_out = sum_dataset(old, new, validation=0.2, seed=3)
    assert train.count + held_out.count == FILES * ROWS
    whole = GramSums(artifact.source.dim, artifact.target.dim)
    for path in sorted(old.iterdir()):
        whole.add(Embeddings.load(path).vectors, Embeddings.load(new / path.name).vectors)
    train.merge(held_out)
    np.testing.assert_allclose(train.cross_gram, whole.cross_gram, rtol=1e-8, atol=1e-8)
    fitted = fit_affine_sums(train, held_out, normalize=False)
    np.testing.assert_allclose(fitted.weight, artifact.weights()["weight"], atol=1e-3)
    (new / "0.parquet").unlink()
    with pytest.raises(InputError, match=r"must have a counterpart in .* Missing: 0.parquet"):
        sum_dataset(old, new)
    write(new / "0.parquet", artifact, 1)
    with pytest.raises(InputError, match="must hold the same ids"):
        sum_dataset(old, new)


def test_bad_arguments(artifact: Artifact, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no .parquet files"):
        convert_dataset(artifact.path, tmp_path, tmp_path / "new")
    with pytest.raises(InputError, match="workers must be at least 1. Got 0"):
        convert_dataset(artifact.path, tmp_path, tmp_path / "new", workers=0)
