from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from embcompat.aligners import fit_affine, reweight
from embcompat.artifact import read_artifact
from embcompat.backfill import SearchTask, backfill_curve, read_plan
from embcompat.cli import app
from embcompat.cli.backfill.curve import make_backlog
from embcompat.embeddings import Embeddings, PairedEmbeddings, split_pairs
from embcompat.errors import InputError
from embcompat.evaluation.retrieval.judgements import read_qrels
from embcompat.export import save_artifact
from embcompat.selection import fit_artifact
from embcompat.testing import make_pairs
from embcompat.upgrade import build_search_case, join_galleries


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact, a labelled gallery of 260 of which 160 were fitted, and 60 queries with judgements."""
    folder = tmp_path_factory.mktemp("backfill")
    pairs = make_pairs(320, source_dim=10, target_dim=10, noise=0.4, normalized=True, subjects=40).pairs
    unlabelled = PairedEmbeddings(*(Embeddings(s.vectors, s.ids, s.space) for s in (pairs.source, pairs.target)))
    split = split_pairs(unlabelled.select(range(160)), validation=0.3, test=0.0)
    spaces = {"source": pairs.source.space, "target": pairs.target.space}
    save_artifact(fit_affine(split.train, split.validation), folder / "artifact", split=split, **spaces)
    for name, rows in (("gallery", range(260)), ("queries", range(260, 320))):
        pairs.source.select(rows).save(folder / f"old-{name}.parquet")
        pairs.target.select(rows).save(folder / f"new-{name}.parquet")
    labels = pairs.labels
    assert labels is not None
    lines = [
        f"{pairs.ids[query]}\t0\t{pairs.ids[row]}\t1\n"
        for query in range(260, 320)
        for row in range(260)
        if labels[query] == labels[row]
    ]
    (folder / "qrels.tsv").write_text("".join(lines))
    return folder


def run(*words: object) -> str:
    result = CliRunner().invoke(app, ["backfill", *map(str, words)])
    if isinstance(result.exception, InputError):
        raise result.exception
    assert result.exit_code == 0, result.exception
    return result.stdout


def curve_of(files: Path, *words: object, queries: bool = True, artifact: Path | None = None) -> dict[str, Any]:
    data = ["--old-gallery", files / "old-gallery.parquet", "--new-gallery", files / "new-gallery.parquet"]
    if queries:
        data += ["--old-queries", files / "old-queries.parquet", "--new-queries", files / "new-queries.parquet"]
        data += ["--qrels", files / "qrels.tsv"]
    return dict(json.loads(run("curve", artifact or files / "artifact", *data, *words, "--json")))


def test_a_curve_for_each_order(files: Path, tmp_path: Path) -> None:
    result = curve_of(files, "--orders", "random,class_mean,convertibility,recommended", "--out", tmp_path / "c.json")
    assert set(result["orders"]) == {"random", "class_mean", "convertibility", "recommended"}
    for order in result["orders"].values():
        assert order["fractions"][0] == pytest.approx(160 / 260)
        assert order["fractions"][-1] == 1.0
        assert len(order["fractions"]) == len(order["metric"]) == 11
        assert order["auc"] == pytest.approx(np.mean(order["metric"]))
    assert json.loads((tmp_path / "c.json").read_text()) == result
    page = CliRunner().invoke(app, ["report", str(tmp_path / "c.json"), "--out", str(tmp_path / "page.html")])
    assert page.exit_code == 0, page.exception
    fused = curve_of(files, "--orders", "random", "--fused-weight", "0.5", "--steps", "3")
    assert fused["orders"]["random"]["metric"] != result["orders"]["random"]["metric"][::5]


def test_both_doors_weigh_queries(files: Path, tmp_path: Path) -> None:
    pairs = make_pairs(320, source_dim=10, target_dim=10, noise=0.4, normalized=True, subjects=40).pairs
    split = split_pairs(pairs.select(range(160)), validation=0.3, test=0.0)
    weighted = reweight(fit_affine(split.train, split.validation), split.validation)
    artifact = tmp_path / "weighted"
    save_artifact(weighted, artifact, split=split, source=pairs.source.space, target=pairs.target.space)
    sides = [Embeddings.load(files / f"{name}.parquet") for name in ("old-gallery", "new-gallery")]
    queries = {f"{age}_queries": Embeddings.load(files / f"{age}-queries.parquet") for age in ("old", "new")}
    words = ["--orders", "usefulness", "--weigh-queries", "--out", tmp_path / "curve.json"]
    command = curve_of(files, *words, artifact=artifact)

    galleries = join_galleries(artifact, *sides)
    case = build_search_case(galleries, **queries, qrels=read_qrels(files / "qrels.tsv"), weigh=True)
    task = SearchTask(
        case.sides.new_queries, case.qrels, case.sides.old_queries, weighted_queries=case.sides.weighted_queries
    )
    backlog = make_backlog(read_artifact(artifact), galleries.old, galleries.mixed, None, seed=0)
    library = backfill_curve(backlog, galleries.new, task, native_ids=galleries.fitted, orders=["usefulness"])
    assert command["weighted_queries"]
    assert {name: command[name] for name in library.to_dict()} == library.to_dict()

    plan = ["plan", artifact, files / "old-gallery.parquet", "--budget-rows", "10", "--order", "usefulness"]
    plan += ["--queries", files / "new-queries.parquet", "--out", tmp_path / "PLAN.json", "--ids", tmp_path / "ids.txt"]
    assert "weigh those of your service" in run(*plan, "--curve", tmp_path / "curve.json")
    rows = (tmp_path / "ids.txt").read_text()
    assert "weigh those" not in run(*plan)
    assert (tmp_path / "ids.txt").read_text() != rows
    with pytest.raises(InputError, match="verification has no queries to weigh"):
        curve_of(files, "--task", "verification", "--weigh-queries", artifact=artifact)


def test_tables_fit_and_verification_takes_unseen_subjects(files: Path, tmp_path: Path) -> None:
    words = ["--old-gallery", files / "old-gallery.parquet", "--new-gallery", files / "new-gallery.parquet"]
    output = run("curve", files / "artifact", *words, "--orders", "class_mean", "--steps", "3")
    assert max(map(len, output.splitlines())) <= 80
    assert {"class", "mean", "random", "area"} <= set(output.split())
    faces = tmp_path / "faces"
    pairs = make_pairs(300, source_dim=10, target_dim=10, noise=0.4, normalized=True, subjects=60).pairs
    split = split_pairs(pairs, validation=0.3, test=0.4)
    spaces = {"source": pairs.source.space, "target": pairs.target.space}
    save_artifact(fit_affine(split.train, split.validation), faces, split=split, **spaces)
    pairs.source.save(tmp_path / "old.parquet")
    pairs.target.save(tmp_path / "new.parquet")
    words = ["--old-gallery", tmp_path / "old.parquet", "--new-gallery", tmp_path / "new.parquet", "--json"]
    result = json.loads(run("curve", faces, *words, "--task", "verification", "--far", "0.01", "--steps", "3"))
    known = len(split.train) + len(split.validation) + 30  # 6 of the 24 test subjects teach the orders
    assert result["metric"] == "tar@far=0.01"
    assert result["orders"]["random"]["fractions"][0] == pytest.approx(known / 300)
    assert set(result["orders"]) == {"random", "class_mean", "predicted_error", "convertibility", "recommended"}


def test_pairs_of_a_refitted_aligner_are_not_held_out(tmp_path: Path) -> None:
    pairs = make_pairs(700, source_dim=10, target_dim=10, noise=0.4, normalized=True).pairs
    fit_artifact(pairs.select(range(500)), tmp_path / "a", kind="ridge")
    pairs.source.save(tmp_path / "old.parquet")
    pairs.target.save(tmp_path / "new.parquet")
    words = ["--old-gallery", tmp_path / "old.parquet", "--new-gallery", tmp_path / "new.parquet", "--json"]
    figures = json.loads(run("curve", tmp_path / "a", *words, "--steps", "3", "--orders", "random"))
    assert figures["orders"]["random"]["fractions"][0] == pytest.approx(500 / 700)
    result = CliRunner().invoke(
        app, ["backfill", "curve", str(tmp_path / "a"), *map(str, words), "--orders", "predicted_error"]
    )
    assert "needs held-out pairs" in str(result.exception)


def plan_of(files: Path, folder: Path, *words: object) -> dict[str, Any]:
    places = ["--out", folder / "PLAN.json", "--ids", folder / "ids.txt", "--json"]
    return dict(json.loads(run("plan", files / "artifact", files / "old-gallery.parquet", *words, *places)))


def test_a_plan_within_a_budget(files: Path, tmp_path: Path) -> None:
    words = ["--order", "class_mean", "--seconds-per-item", "2", "--price-per-item", "0.5"]
    result = plan_of(files, tmp_path, "--budget-rows", "25", *words)
    plan, ids = read_plan(tmp_path / "PLAN.json")
    assert result["count"] == len(ids) == 25
    assert plan.artifact == result["artifact"]
    assert (plan.native_items, plan.gallery_size, plan.seconds, plan.money) == (160, 260, 50.0, 12.5)
    fitted = {f"item-{number}" for number in range(160)}
    assert not fitted & set(ids)
    assert len(plan_of(files, tmp_path, "--budget-fraction", "0.75")["sentence"]) > 20
    assert read_plan(tmp_path / "PLAN.json")[0].count == 35
    assert plan_of(files, tmp_path, "--budget-seconds", "60", "--seconds-per-item", "2")["count"] == 30


def test_the_model_is_timed_on_the_items(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Known:
        chunk_size = 2

        def extract(self, items: list[str]) -> np.ndarray:
            return np.zeros((len(items), 10), np.float32)

    def opened(*named: object) -> Known:
        assert named == ("known", "folder", ["depth=3"])
        return Known()

    monkeypatch.setattr(sys.modules["embcompat.cli.backfill.plan"], "open_model", opened)
    (tmp_path / "items.txt").write_text("one\ntwo\nthree\nfour\n")
    named = ["-e", "known", "-m", "folder", "--option", "depth=3"]
    actual = plan_of(files, tmp_path, "--budget-rows", "9", *named, "--items", tmp_path / "items.txt")
    assert 0 < actual["seconds"] < 9
    arguments = [str(files / "artifact"), str(files / "old-gallery.parquet"), "--budget-rows", "9", "-e", "known"]
    result = CliRunner().invoke(app, ["backfill", "plan", *arguments])
    assert "must be given together" in str(result.exception)


def test_a_target_from_a_curve_or_from_a_sample(files: Path, tmp_path: Path) -> None:
    curve_of(files, "--out", tmp_path / "c.json")
    usual = ["--target-retention", "0.98", "--queries", files / "new-queries.parquet"]
    from_curve = plan_of(
        files, tmp_path, *usual, "--curve", tmp_path / "c.json", "--new-vectors", files / "new-gallery.parquet"
    )
    assert from_curve["expected"]["value"] >= 0.98 or from_curve["count"] == 100
    assert "98% of a full reindex" in from_curve["sentence"]
    sample = ["--new-vectors", files / "new-gallery.parquet", "--qrels", files / "qrels.tsv"]
    from_sample = plan_of(files, tmp_path, *usual, *sample)
    assert from_sample["expected"]["value"] >= 0.98 or from_sample["count"] == 100
    plan = plan_of(files, tmp_path, "--budget-rows", "5", "--new-vectors", files / "new-gallery.parquet")
    assert plan["count"] == 5
    assert plan["expected"]["low"] <= plan["expected"]["value"] <= plan["expected"]["high"]


def test_a_log_of_items_in_use_makes_them_first(files: Path, tmp_path: Path) -> None:
    (tmp_path / "log.tsv").write_text("q1 0 item-200 1\nq2 0 item-200 1\nq2 0 item-210 1\nq3 0 item-3 1\n")
    plan_of(files, tmp_path, "--order", "usefulness", "--qrels", tmp_path / "log.tsv", "--budget-rows", "2")
    assert read_plan(tmp_path / "PLAN.json")[1] == ["item-200", "item-210"]


def test_classes_from_a_file(files: Path, tmp_path: Path) -> None:
    classes = tmp_path / "classes.tsv"
    classes.write_text("".join(f"item-{number}\tclass-{number % 7}\n" for number in range(260)))
    words = ["--budget-rows", "20", "--order", "class_mean"]
    plan_of(files, tmp_path, *words)
    plain = read_plan(tmp_path / "PLAN.json")[1]
    plan_of(files, tmp_path, *words, "--labels", classes)
    assert read_plan(tmp_path / "PLAN.json")[1] != plain
    classes.write_text("item-1\tclass-1\n")
    result = CliRunner().invoke(
        app,
        [
            "backfill",
            "plan",
            *map(str, (files / "artifact", files / "old-gallery.parquet", "--labels", classes)),
            *words,
        ],
    )
    assert isinstance(result.exception, InputError)
    assert "'item-0' has none" in str(result.exception)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "a budget must be exactly one of"),
        (["--target-retention", "0.9"], "needs a curve"),
        (["--budget-seconds", "9"], "needs seconds_per_item"),
        (["--budget-rows", "9", "--order", "alphabetical"], "no order called"),
        (["--budget-rows", "9", "--order", "usefulness"], "needs a sample of queries"),
    ],
)
def test_what_is_missing_is_said(files: Path, tmp_path: Path, words: list[str], message: str) -> None:
    arguments = [str(files / "artifact"), str(files / "old-gallery.parquet"), "--out", str(tmp_path / "P.json")]
    result = CliRunner().invoke(app, ["backfill", "plan", *arguments, *words])
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)
    assert not (tmp_path / "P.json").exists()
