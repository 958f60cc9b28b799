"""What is done, stale or to do, without running anything: results are small files here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import embcompat as ec
from embcompat.aligners import reweight
from embcompat.errors import InputError
from embcompat.export import unweight_artifact
from embcompat.testing import make_pairs
from embcompat.upgrade.line import Upgrade, UpgradeLine

UPGRADE = Upgrade(
    gallery="lancedb:///x#a.b",
    text_column="body",
    extractor="words",
    qrels="qrels.tsv",
    old_queries="old-q.parquet",
    new_queries="new-q.parquet",
)
NAMES = ["old.parquet", "new.parquet", "old-to-new", "evaluation.json", "report.html"]


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UpgradeLine:
    """Make an upgrade of which every step is done."""
    monkeypatch.chdir(tmp_path)
    for name in ("qrels.tsv", "old-q.parquet", "new-q.parquet"):
        Path(name).write_text("x")
    whole = UpgradeLine(Path("upgrade.toml"), UPGRADE)
    for each in whole.states():
        whole.begin(each.step)
        each.step.result.write_text(json.dumps({"decision": "convert"}))
        whole.finish(each.step)
    return whole


def changed(**values: object) -> UpgradeLine:
    return UpgradeLine(Path("upgrade.toml"), UPGRADE.model_copy(update=values))


def states(line: UpgradeLine) -> list[str]:
    return [each.state for each in line.states()]


def test_what_did_not_change_is_done(line: UpgradeLine) -> None:
    assert [each.step.name for each in line.states()] == NAMES
    assert states(line) == ["done"] * 5
    line.require_converting()


@pytest.mark.parametrize(
    ("values", "first", "reason"),
    [
        ({"rows": 700}, "old.parquet", "--rows was 5000, is 700"),
        ({"gallery": "lancedb:///y#a.b"}, "old.parquet", "sample was lancedb:///x#a.b, is lancedb:///y#a.b"),
        ({"old_space": "ada@2"}, "old.parquet", "--space was not set, is ada@2"),
        ({"model": "m"}, "new.parquet", "--model was not set, is m"),
        ({"options": ["a=1", "b=2"]}, "new.parquet", "--option was not set, is a=1 b=2"),
        ({"new_queries": "other.parquet"}, "evaluation.json", "--new-queries was new-q.parquet, is other.parquet"),
        ({"weigh_queries": True}, "evaluation.json", "--weigh-queries was not set, is set"),
    ],
)
def test_a_changed_line_makes_its_step_stale_and_all_after_it(
    line: UpgradeLine, values: dict[str, object], first: str, reason: str
) -> None:
    assert states(line) == ["done"] * 5
    other = changed(**values)
    place = NAMES.index(first)
    assert states(other) == ["done"] * place + ["stale"] * (5 - place)
    assert other.states()[place].reason == reason
    assert all(each.reason for each in other.states()[place:])
    assert other.next_step("untouched") == "embcompat upgrade run upgrade.toml"
    with pytest.raises(InputError, match=f"{first} is stale .*Run: embcompat upgrade run upgrade.toml"):
        other.require_converting()
    assert states(changed()) == ["done"] * 5  # and back again


def test_a_changed_input_makes_what_reads_it_stale(line: UpgradeLine) -> None:
    Path("new-q.parquet").write_text("longer")
    assert states(line) == ["done"] * 3 + ["stale"] * 2
    assert line.states()[3].reason == "new-q.parquet has changed since"
    Path("qrels.tsv").write_text("longer")
    assert states(line) == ["stale"] * 5
    assert line.states()[0].reason == "qrels.tsv has changed since"
    assert line.states()[1].reason == "old.parquet is stale"


def test_a_missing_result_makes_all_after_it_stale(line: UpgradeLine) -> None:
    Path("upgrade/new.parquet").unlink()
    assert states(line) == ["done", "to do", "stale", "stale", "stale"]


def test_what_is_begun_again_is_to_be_done_again_with_all_after_it(line: UpgradeLine) -> None:
    assert line.begin(line.states()[1].step)[-1] == "--overwrite"
    assert states(line) == ["done", "stale", "stale", "stale", "stale"]
    assert line.states()[1].reason == "its step did not finish"


def test_the_gallery_decides_what_comes_next(line: UpgradeLine) -> None:
    assert line.next_step("cut_over") == (
        "embcompat upgrade rollback upgrade.toml, or embcompat migrate drop-old once the old vectors are not needed"
    )
    assert line.next_step("finished") is None
    assert line.next_step("untouched") == "embcompat upgrade apply upgrade.toml"
    Path("upgrade/evaluation.json").write_text(json.dumps({"decision": "stay"}))
    assert line.next_step("untouched") is None


@pytest.mark.parametrize(
    ("decision", "weigh_queries", "unweighted"),
    [
        ("convert", False, False),
        ("convert", True, True),
        ("fused", True, True),
        ("lazy_backfill", False, True),
        ("lazy_backfill", True, True),
        ("reindex", True, False),
    ],
)
def test_the_reweighting_goes_where_queries_are_weighted_or_native_rows_come(
    line: UpgradeLine, decision: str, weigh_queries: bool, unweighted: bool
) -> None:
    split = ec.split_pairs(make_pairs(90, source_dim=4, target_dim=4, normalized=True).pairs, seed=0)
    weighted = reweight(ec.fit_affine(split.train, split.validation), split.validation)
    Path("upgrade/old-to-new").unlink()
    spaces = {"source": split.train.source.space, "target": split.train.target.space}
    ec.save_artifact(weighted, "upgrade/old-to-new", **spaces, split=split)
    Path("upgrade/evaluation.json").write_text(json.dumps({"decision": decision}))
    other = changed(weigh_queries=weigh_queries)
    folders = [Path("upgrade/old-to-new"), Path("upgrade/old-to-new-unweighted")]
    words = ("unweight", str(folders[0]), "--out", str(folders[1]), "--overwrite")
    assert other.unweighting() == (words if unweighted else None)
    unweight_artifact(*folders)
    assert other.artifact == folders[unweighted]
