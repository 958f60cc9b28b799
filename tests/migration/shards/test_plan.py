from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from embcompat.aligners import AffineAligner
from embcompat.artifact import Artifact
from embcompat.cli import app
from embcompat.embeddings import Embeddings, PairSplit
from embcompat.errors import FileFormatError, GateError, InputError, MigrationError, StoreError
from embcompat.export import save_artifact
from embcompat.files import Columns, open_vectors
from embcompat.files.writing.parts import open_part
from embcompat.files.writing.pieces import NpyFormat
from embcompat.migration import Shard, convert_file, convert_shard, finish_shards, plan_shards

NAMES = {"a b.parquet": 40, "year=2024/ä.parquet": 30, "year=2024/empty.parquet": 0, "year=2025/z.parquet": 10}


@pytest.fixture
def old(artifact: Artifact, tmp_path: Path) -> Path:
    """A folder of four files, one of them empty."""
    for name, rows in NAMES.items():
        write(tmp_path / "old" / name, artifact, rows)
    return tmp_path / "old"


@pytest.fixture
def other(artifact: Artifact, split: PairSplit, tmp_path: Path) -> Artifact:
    """Another artifact of the same spaces, at chance level."""
    right = artifact.weights()
    turned = AffineAligner(np.roll(right["weight"], 3, axis=0), right["bias"])
    spaces = {"source": artifact.source, "target": artifact.target}
    return save_artifact(turned, tmp_path / "other", split=split, canary=False, **spaces)


def write(path: Path, artifact: Artifact, rows: int, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    vectors = np.random.default_rng(seed).standard_normal((rows, artifact.source.dim)).astype(np.float32)
    Embeddings(vectors, [f"{path.name} {row}" for row in range(rows)], artifact.source).save(path)


def run(artifact: Artifact, source: Path, target: Path, shards: int) -> None:
    for shard in range(shards):
        convert_shard(artifact, source, target, Shard(shard, shards))


def test_every_row_is_in_one_piece_and_shards_are_of_like_size(artifact: Artifact, old: Path, tmp_path: Path) -> None:
    for shards in (1, 2, 3, 7):
        plan = plan_shards(artifact, old, tmp_path / f"new{shards}", shards=shards)
        assert sum(piece.rows for piece in plan.pieces) == plan.rows == 80
        loads = [sum(piece.rows for piece in plan.of_shard(shard)) for shard in range(shards)]
        assert max(loads) <= 80 / shards + max(piece.rows for piece in plan.pieces)
        for name, rows in NAMES.items():
            pieces = [piece for piece in plan.pieces if piece.source == name]
            assert [piece.first_row for piece in pieces] == [0, *np.cumsum([piece.rows for piece in pieces])[:-1]]
            assert sum(piece.rows for piece in pieces) == rows
    assert {piece.target for piece in plan_shards(artifact, old, tmp_path / "new4", shards=4).pieces} == set(NAMES)


@pytest.mark.parametrize("shards", [1, 3, 9])
def test_the_parts_of_one_file_hold_what_its_conversion_holds(
    artifact: Artifact, source: Path, tmp_path: Path, shards: int
) -> None:
    convert_file(artifact, source, tmp_path / "whole.parquet")
    plan_shards(artifact, source, tmp_path / "new", shards=shards)
    run(artifact, source, tmp_path / "new", shards)
    assert finish_shards(artifact, source, tmp_path / "new").files == shards
    whole, parts = open_vectors(tmp_path / "whole.parquet"), open_vectors(tmp_path / "new")
    assert parts.schema.names == whole.schema.names
    assert parts.space == whole.space
    assert pq.read_table(sorted((tmp_path / "new").glob("*.parquet"))).equals(pq.read_table(tmp_path / "whole.parquet"))


def test_rows_without_ids_keep_their_numbers_and_bad_rows_are_named(artifact: Artifact, tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((10, artifact.source.dim)).astype(np.float32)
    np.save(tmp_path / "old.npy", vectors)
    plan_shards(artifact, tmp_path / "old.npy", tmp_path / "new", shards=2)
    run(artifact, tmp_path / "old.npy", tmp_path / "new", 2)
    finish_shards(artifact, tmp_path / "old.npy", tmp_path / "new")
    assert Embeddings.load(tmp_path / "new").ids.tolist() == [str(row) for row in range(10)]
    vectors[7] = np.nan
    np.save(tmp_path / "bad.npy", vectors)
    plan_shards(artifact, tmp_path / "bad.npy", tmp_path / "bad", shards=2)
    with pytest.raises(FileFormatError, match=r"[Rr]ow 7"):
        run(artifact, tmp_path / "bad.npy", tmp_path / "bad", 2)


def test_the_same_plan_again_changes_nothing_and_another_one_is_refused(
    artifact: Artifact, other: Artifact, old: Path, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    plan = plan_shards(artifact, old, new, shards=2)
    data = (new / "_plan.json").read_bytes()
    assert plan_shards(artifact, old, new, shards=2) == plan
    assert (new / "_plan.json").read_bytes() == data
    with pytest.raises(InputError, match="holds another plan"):
        plan_shards(artifact, old, new, shards=3)
    with pytest.raises(GateError, match="must do better than chance"):
        plan_shards(other, old, tmp_path / "elsewhere", shards=2)
    with pytest.raises(MigrationError, match="the plan in .* is for artifact"):
        convert_shard(other, old, new, Shard(0, 2))
    with pytest.raises(InputError, match="a shard must be i/2"):
        convert_shard(artifact, old, new, Shard(0, 3))
    with pytest.raises(InputError, match="holds no plan. Make one first"):
        convert_shard(artifact, old, tmp_path / "none", Shard(0, 2))
    plan = (new / "_plan.json").read_text()
    (new / "_plan.json").write_text(plan.replace('"target": "year=2024', '"target": "../../year=2024'))
    with pytest.raises(InputError, match="a path must stay below its folder"):
        convert_shard(artifact, old, new, Shard(0, 2))
    (new / "_plan.json").write_text("{}")
    with pytest.raises(InputError, match="is not a plan of this version"):
        convert_shard(artifact, old, new, Shard(0, 2))


def test_a_changed_source_is_refused_and_planned_again_without_repeating_the_rest(
    artifact: Artifact, old: Path, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    plan_shards(artifact, old, new, shards=1)
    run(artifact, old, new, 1)
    finish_shards(artifact, old, new)
    write(old / "year=2025" / "z.parquet", artifact, 10, seed=9)
    for step in (lambda: convert_shard(artifact, old, new, Shard(0, 1)), lambda: finish_shards(artifact, old, new)):
        with pytest.raises(MigrationError, match="z.parquet was changed since the plan was made"):
            step()
    write(old / "added.parquet", artifact, 5)
    with pytest.raises(MigrationError, match="has 1 files that the plan does not have, for instance added.parquet"):
        finish_shards(artifact, old, new)
    plan_shards(artifact, old, new, shards=1, overwrite=True)
    assert not (new / "_SUCCESS").exists()
    report = convert_shard(artifact, old, new, Shard(0, 1))
    assert (report.files, report.finished_before, report.converted_rows) == (5, 3, 15)
    assert finish_shards(artifact, old, new).rows == 85
    (old / "added.parquet").unlink()
    with pytest.raises(MigrationError, match="added.parquet is missing since the plan was made"):
        finish_shards(artifact, old, new)


def test_what_does_not_belong_there_is_refused(artifact: Artifact, old: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    write(new / "mine.parquet", artifact, 1)
    with pytest.raises(InputError, match="must hold no other files of vectors. Got 1, for instance mine.parquet"):
        plan_shards(artifact, old, new, shards=2)
    (new / "mine.parquet").rename(tmp_path / "mine.parquet")
    plan_shards(artifact, old, new, shards=2)
    run(artifact, old, new, 2)
    (tmp_path / "mine.parquet").rename(new / "mine.parquet")
    with pytest.raises(MigrationError, match="must hold the files of the plan alone"):
        finish_shards(artifact, old, new)
    (new / "mine.parquet").unlink()
    table = pq.read_table(new / "a b.parquet")
    ids = pa.array([f"other {row}" for row in range(40)])
    pq.write_table(table.set_column(0, table.schema.field(0), ids), new / "a b.parquet")
    with pytest.raises(MigrationError, match="must have the ids of .* in the same order"):
        finish_shards(artifact, old, new)
    assert not (new / "_SUCCESS").exists()


def test_bad_arguments(artifact: Artifact, old: Path, tmp_path: Path) -> None:
    for target in (old, old / "inner"):
        with pytest.raises(InputError, match="target must be a folder outside the source"):
            plan_shards(artifact, old, target, shards=2)
    with pytest.raises(InputError, match="shards must be at least 1. Got 0"):
        plan_shards(artifact, old, tmp_path / "new", shards=0)
    (tmp_path / "file").touch()
    for name in ("new.parquet", "file"):
        with pytest.raises(InputError, match="target must be a folder, because each piece is a file of its own"):
            plan_shards(artifact, old, tmp_path / name, shards=2)
    with pytest.raises(InputError, match="must be a folder. A file is in its place"):
        plan_shards(artifact, old, tmp_path / "file" / "new", shards=2)
    with pytest.raises(FileFormatError, match="has no column 'none'"):
        plan_shards(artifact, old, tmp_path / "new", shards=2, columns=Columns(vector="none"))


def test_two_runs_on_one_machine_exclude_each_other(artifact: Artifact, old: Path, tmp_path: Path) -> None:
    plan_shards(artifact, old, tmp_path / "new", shards=1)
    layout = NpyFormat(1, 1)
    with (
        open_part(tmp_path / "new" / "a b.parquet", layout, identity={}, resume=False),
        pytest.raises(StoreError, match="another process is writing"),
    ):
        convert_shard(artifact, old, tmp_path / "new", Shard(0, 1))


def test_the_commands(artifact: Artifact, old: Path, tmp_path: Path) -> None:
    words = [str(artifact.path), str(old), str(tmp_path / "new")]
    invoke = CliRunner().invoke
    planned = invoke(app, ["shards", "plan", *words, "--shards", "2"])
    assert f"{tmp_path}/new: 2 shards, 4 files to write, 80 rows" in planned.stdout
    for shard in ("0/2", "1/2"):
        report = json.loads(invoke(app, ["convert", *words, "--shard", shard, "--json"]).stdout)
        assert report["converted_rows"] == report["rows"] == 40
    assert "0 rows converted" in invoke(app, ["convert", *words, "--shard", "1/2"]).stdout
    finished = invoke(app, ["shards", "finish", *words])
    assert "complete. 4 files of 2 shards, 80 rows" in finished.stdout
    refused = invoke(app, ["convert", *words, "--shard", "0/2", "--batch-size", "5"])
    assert "--batch-size cannot be combined with --shard" in str(refused.exception)
