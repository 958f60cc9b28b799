"""``embcompat backfill run`` on a real store."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import lancedb
import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner, Result

from embcompat.aligners import fit_affine
from embcompat.aligners.canonical import fit_canonical
from embcompat.aligners.shared import shared_space
from embcompat.artifact import Artifact
from embcompat.backfill import Budget, plan_backfill, save_plan
from embcompat.cli import app
from embcompat.embeddings import Embeddings, PairSplit
from embcompat.errors import ExtractionError, InputError, SpaceMismatchError
from embcompat.export import save_aligner_pair, save_artifact
from embcompat.migration import run_migration
from embcompat.runtime import OnnxAligner
from embcompat.spaces import SpaceVersion
from embcompat.stores import open_store
from embcompat.stores.values import Job, TargetRows
from embcompat.testing import make_pairs


@pytest.fixture(scope="module")
def artifact(split: PairSplit, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    path = tmp_path_factory.mktemp("artifact") / "old-to-new"
    spaces = {"source": split.train.source.space, "target": split.train.target.space}
    return save_artifact(fit_affine(split.train, split.validation), path, split=split, **spaces)


def make_gallery(split: PairSplit, artifact: Artifact, folder: Path) -> str:
    """Convert the training items in a LanceDB table."""
    vectors = split.train.source.vectors
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
    table = pa.table({"id": split.train.ids.tolist(), "vector": column})
    lancedb.connect(str(folder / "gallery")).create_table("docs", table)
    url = f"lancedb://{folder}/gallery#docs.vector"
    run_migration(OnnxAligner(artifact), open_store(url))
    return url


def make_plan(artifact: Artifact, ids: Sequence[str], folder: Path, artifact_path: Path | None) -> str:
    plan = plan_backfill(ids, Budget(rows=len(ids)))
    spaces = {"source": artifact.source.id, "target": artifact.target.id}
    save_plan(
        plan, folder / "PLAN.json", folder / "ids.txt", artifact=artifact.id, artifact_path=artifact_path, **spaces
    )
    return str(folder / "PLAN.json")


@pytest.fixture
def url(split: PairSplit, artifact: Artifact, tmp_path: Path) -> str:
    return make_gallery(split, artifact, tmp_path)


@pytest.fixture
def plan(split: PairSplit, artifact: Artifact, tmp_path: Path) -> str:
    return make_plan(artifact, split.train.ids[:80].tolist(), tmp_path, artifact.path)


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["backfill", "run", *map(str, arguments)])


def ok(*arguments: str | Path) -> str:
    result = invoke(*arguments)
    assert result.exit_code == 0, result.exception
    return result.stdout


def target_of(url: str, artifact: Artifact, ids: Sequence[str]) -> TargetRows:
    return open_store(url).read_target(Job(artifact.id, artifact.source, artifact.target), ids)


def test_planned_rows_become_native_and_a_second_run_has_nothing_to_do(
    split: PairSplit, artifact: Artifact, url: str, plan: str, tmp_path: Path
) -> None:
    split.train.target.save(tmp_path / "new.parquet")
    result = json.loads(ok(plan, url, "--new-vectors", tmp_path / "new.parquet", "--json"))
    assert (result["planned"], result["rows"], result["already_native"], result["failures"]) == (80, 80, 0, {})
    assert result["gallery"] == {"native": 80, "converted": len(split.train) - 80, "missing": 0}
    ids = split.train.ids.tolist()
    rows = target_of(url, artifact, ids)
    place = {identifier: row for row, identifier in enumerate(rows.ids)}
    order = [place[identifier] for identifier in ids]
    assert rows.native[order].tolist() == [True] * 80 + [False] * (len(ids) - 80)
    assert np.allclose(rows.vectors[order][:80], split.train.target.vectors[:80], atol=1e-6)
    again = " ".join(ok(plan, url, "--new-vectors", tmp_path / "new.parquet").split())
    assert "0 rows re-embedded" in again
    assert "80 were native" in again
    assert f"80 native and {len(ids) - 80} converted rows" in again


class Known:
    """Embeds an item by looking its vector up; refuses what is empty."""

    chunk_size = 16
    vectors: dict[str, NDArray[np.float32]]
    space: SpaceVersion

    def extract(self, items: Sequence[str]) -> NDArray[np.float32]:
        if "" in items:
            raise ExtractionError("there is nothing in it")
        return np.stack([self.vectors[item] for item in items])


def test_an_extractor_embeds_the_items_and_failures_are_listed(
    split: PairSplit, artifact: Artifact, url: str, plan: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Known.space = split.train.target.space
    Known.vectors = dict(zip(split.train.ids.tolist(), split.train.target.vectors, strict=True))
    info = tmp_path / "embcompat_test_known-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: embcompat-test-known\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[embcompat.extractors]\nknown = embcompat_test_known:Known\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "embcompat_test_known", sys.modules[__name__])
    ids = split.train.ids.tolist()
    lines = [{"id": each, "text": "" if each == ids[3] else each} for each in ids if each != ids[5]]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = json.loads(ok(plan, url, "--extractor", "known", "--items", tmp_path / "items.jsonl", "--json"))
    assert result["rows"] == 78
    assert result["failures"] == {ids[3]: "there is nothing in it", ids[5]: "there is no such item"}
    output = " ".join(ok(plan, url, "--extractor", "known", "--items", tmp_path / "items.jsonl").split())
    assert f"{ids[5]}: there is no such item" in output


def test_a_run_is_measured_as_it_goes(split: PairSplit, artifact: Artifact, url: str, tmp_path: Path) -> None:
    ids = split.train.ids.tolist()
    plan = make_plan(artifact, ids, tmp_path, artifact.path)
    split.train.target.save(tmp_path / "new.parquet")
    split.train.source.save(tmp_path / "old.parquet")
    (tmp_path / "qrels.tsv").write_text("".join(f"{each} 0 {each} 1\n" for each in ids))
    files = ["--new-vectors", tmp_path / "new.parquet", "--queries", tmp_path / "new.parquet"]
    assert "belong together" in str(invoke(plan, url, *files).exception)
    files += ["--gallery", tmp_path / "old.parquet", "--qrels", tmp_path / "qrels.tsv", "--metric", "mrr"]
    result = invoke(plan, url, *files, "--json")
    assert result.exit_code == 0, result.exception
    measured = json.loads(result.stdout)["measured"]["values"]
    assert [each["done"] for each in measured] == [0, len(ids)]
    assert measured[-1]["value"] == 1.0
    assert "items: mrr 1.000" in " ".join(result.stderr.split())


def test_a_pair_of_artifacts_maps_native_vectors_to_the_shared_space(tmp_path: Path) -> None:
    pairs = make_pairs(300, source_dim=12, target_dim=8, normalized=True).pairs
    split = PairSplit(pairs.select(range(250)), pairs.select(range(250, 280)), pairs.select(range(280, 300)))
    pair = fit_canonical(split.train)
    shared = shared_space(pairs.source.space, pairs.target.space, pair, method="canonical")
    spaces = {"old": pairs.source.space, "new": pairs.target.space, "shared": shared}
    save_aligner_pair(pair, tmp_path / "pair", split=split, **spaces)
    forward = OnnxAligner(tmp_path / "pair" / "forward")
    url = make_gallery(split, forward.artifact, tmp_path)
    plan = make_plan(forward.artifact, split.train.ids[:70].tolist(), tmp_path, None)
    split.train.target.save(tmp_path / "new.parquet")
    assert "does not hold the path of its artifact" in str(
        invoke(plan, url, "--new-vectors", tmp_path / "new.parquet").exception
    )
    options = ["--artifact", tmp_path / "pair", "--new-vectors", tmp_path / "new.parquet", "--json"]
    assert json.loads(ok(plan, url, *options))["rows"] == 70
    ids = split.train.ids[:70].tolist()
    rows = target_of(url, forward.artifact, ids)
    expected = dict(zip(ids, pair.backward_map.transform(split.train.target.vectors[:70]), strict=True))
    assert rows.native.all()
    assert np.allclose(rows.vectors, [expected[each] for each in rows.ids], atol=1e-5)


def test_bad_input(split: PairSplit, artifact: Artifact, url: str, plan: str, tmp_path: Path) -> None:
    split.train.target.save(tmp_path / "new.parquet")
    split.train.source.save(tmp_path / "old.parquet")
    outcome = invoke(plan, url, "--new-vectors", tmp_path / "new.parquet", "--extractor", "minilm")
    assert isinstance(outcome.exception, InputError)
    assert isinstance(invoke(plan, url).exception, InputError)
    wrong = invoke(plan, url, "--new-vectors", tmp_path / "old.parquet")
    assert isinstance(wrong.exception, SpaceMismatchError)
    assert not target_of(url, artifact, split.train.ids.tolist()).native.any()
    other = json.loads((tmp_path / "PLAN.json").read_text()) | {"artifact": "0" * 64}
    (tmp_path / "OTHER.json").write_text(json.dumps(other))
    result = invoke(tmp_path / "OTHER.json", url, "--new-vectors", tmp_path / "new.parquet")
    assert "the plan was made for artifact 000" in str(result.exception)
    rows = Embeddings(split.train.source.vectors, split.train.ids, split.train.source.space)
    column = pa.FixedSizeListArray.from_arrays(pa.array(rows.vectors.reshape(-1)), rows.vectors.shape[1])
    table = pa.table({"id": rows.ids.tolist(), "vector": column})
    lancedb.connect(str(tmp_path / "untouched")).create_table("docs", table)
    result = invoke(plan, f"lancedb://{tmp_path}/untouched#docs.vector", "--new-vectors", tmp_path / "new.parquet")
    assert "was not converted with this artifact" in str(result.exception)
