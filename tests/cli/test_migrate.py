from __future__ import annotations

import json
from pathlib import Path

import lancedb
import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner, Result

from embcompat.aligners import fit_affine
from embcompat.artifact import Artifact
from embcompat.cli.migrate import app
from embcompat.embeddings import PairSplit
from embcompat.errors import GateError, InputError, MigrationError
from embcompat.export import save_artifact


@pytest.fixture(scope="module")
def artifact(split: PairSplit, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    path = tmp_path_factory.mktemp("artifact") / "old-to-new"
    spaces = {"source": split.train.source.space, "target": split.train.target.space}
    return save_artifact(fit_affine(split.train, split.validation), path, split=split, **spaces)


@pytest.fixture
def url(split: PairSplit, tmp_path: Path) -> str:
    vectors = split.test.source.vectors.copy()
    vectors[4] = 0
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
    table = pa.table({"id": split.test.source.ids.tolist(), "vector": column})
    lancedb.connect(str(tmp_path / "gallery")).create_table("docs", table)
    return f"lancedb://{tmp_path}/gallery#docs.vector"


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(command: str, artifact: Artifact, url: str, *options: str) -> Result:
    return CliRunner().invoke(app, [command, str(artifact.path), url, *options])


def ok(command: str, artifact: Artifact, url: str, *options: str) -> str:
    result = run(command, artifact, url, *options)
    assert result.exit_code == 0, result.exception
    return result.stdout


def test_the_commands_in_their_order(artifact: Artifact, url: str, split: PairSplit, tmp_path: Path) -> None:
    rows = len(split.test)
    plan = json.loads(ok("plan", artifact, url, "--json"))
    assert (plan["phase"], plan["rows"], plan["missing"], plan["index"]) == ("untouched", rows, rows, None)
    assert plan["target_bytes"] == rows * (4 * artifact.target.dim + 100)
    assert f"{rows} rows, 0 without a vector, {rows} to convert" in ok("plan", artifact, url)
    assert "space in service: unknown" in ok("status", artifact, url)

    report = json.loads(ok("run", artifact, url, "--batch-size", "20", "--json"))
    assert (report["rows"], report["missing"], len(report["failures"])) == (rows - 1, 1, 1)
    failed = [json.loads(line) for line in Path(f"migrate-{artifact.id[:12]}.failed.jsonl").read_text().splitlines()]
    assert [line["reason"] for line in failed] == ["is all zeros"]
    events = [json.loads(line)["event"] for line in Path(f"migrate-{artifact.id[:12]}.jsonl").read_text().splitlines()]
    assert events[0] == "prepared"
    assert events.count("batch") >= 2
    assert events[-1] == "run_finished"
    again = ok("run", artifact, url, "--max-rows-per-second", "1000", "--journal", "other.jsonl")
    assert "0 rows converted" in again
    assert "1 missing" in again
    assert Path("other.jsonl").exists()

    assert isinstance(run("verify", artifact, url).exception, GateError)
    assert "1 missing" in ok("verify", artifact, url, "--max-failures", "1")
    assert json.loads(ok("verify", artifact, url, "--max-failures", "1", "--json"))["problems"] == []
    assert isinstance(run("cutover", artifact, url).exception, GateError)
    assert "made-new@1 is in service" in ok("cutover", artifact, url, "--max-failures", "1")
    status = json.loads(ok("status", artifact, url, "--json"))
    assert (status["phase"], status["space"]) == ("cut_over", "made-new@1")

    assert "made-old@1 is in service again" in ok("rollback", artifact, url)
    assert isinstance(run("drop-old", artifact, url, "--yes").exception, MigrationError)
    assert json.loads(ok("cutover", artifact, url, "--max-failures", "1", "--json"))["coverage"]["rows"] == rows

    table = lancedb.connect(str(tmp_path / "gallery")).open_table("docs")
    wrong = np.ones((1, artifact.target.dim), np.float32)
    table.add([{"id": "late", "vector": wrong[0].tolist()}])
    result = run("sweep", artifact, url)
    assert isinstance(result.exception, GateError)
    failed_row = split.test.source.ids[4]  # it has an old vector and no new one
    assert sorted(result.stdout.splitlines()) == sorted(["late", failed_row])
    assert sorted(json.loads(run("sweep", artifact, url, "--json").stdout)["rows"]) == sorted(["late", failed_row])

    with pytest.raises(InputError, match="Pass --yes"):
        raise run("drop-old", artifact, url).exception or AssertionError
    assert "The old side is gone" in ok("drop-old", artifact, url, "--yes")
    assert "finished" in ok("status", artifact, url)


def test_shards_and_their_form(artifact: Artifact, url: str, split: PairSplit) -> None:
    halves = [json.loads(ok("run", artifact, url, "--shard", f"{index}/2", "--json"))["rows"] for index in (0, 1)]
    assert sum(halves) == len(split.test) - 1
    assert isinstance(run("run", artifact, url, "--shard", "2/2").exception, InputError)
