from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from embcompat.aligners import kernel
from embcompat.artifact import read_artifact
from embcompat.cli import app
from embcompat.embeddings import Embeddings, PairedEmbeddings
from embcompat.errors import FileFormatError, GateError, InputError, SpaceMismatchError
from embcompat.evaluation.chance import is_at_chance, require_better_than_chance
from embcompat.selection import choose
from embcompat.testing import make_pairs


def run(*words: object) -> Result:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def save(pairs: PairedEmbeddings, folder: Path, name: str = "") -> tuple[Path, Path]:
    paths = folder / f"old{name}.parquet", folder / f"new{name}.parquet"
    pairs.source.save(paths[0])
    pairs.target.save(paths[1])
    return paths


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return save(make_pairs(600, source_dim=12, target_dim=10, noise=0.1).pairs, tmp_path)


def fit(folder: Path, files: tuple[Path, Path], *options: object) -> dict[str, object]:
    """Fit, and keep the test pairs apart, so that they can judge."""
    words = [*options, "--no-refit"]
    result: dict[str, object] = json.loads(run("fit", *files, "--out", folder / "a", "--json", *words).stdout)
    return result


@pytest.mark.parametrize("kind", ["ridge", "procrustes", "low_rank", "kernel", "auto"])
def test_fit_writes_an_artifact_and_measures_it(tmp_path: Path, files: tuple[Path, Path], kind: str) -> None:
    result = fit(tmp_path, files, "--kind", kind)
    artifact = read_artifact(tmp_path / "a")
    assert result["artifacts"] == [artifact.id]
    metrics = {metric.name: metric for metric in artifact.manifest.metrics}
    assert metrics["mean_cosine"].low is not None
    assert metrics["mean_cosine"].low <= metrics["mean_cosine"].value <= 1
    assert 0.3 < metrics["retention"].value <= 1
    assert metrics["retention"].count == 120
    assert ("candidates" in result) == (kind == "auto")


def test_fit_names_the_samples_that_it_takes(
    tmp_path: Path, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def printed(kind: str, *options: str) -> str:
        words = ["--out", tmp_path / "a", "--kind", kind, "--overwrite", *options]
        return " ".join(run("fit", *files, *words).stdout.split())

    whole = printed("auto")
    assert "Compared on 480 pairs." in whole
    assert "Its kernel is fitted on" not in whole
    monkeypatch.setattr(choose, "COMPARED_PAIRS", 320)
    monkeypatch.setattr(kernel, "SUMMED_PAIRS", 150)
    monkeypatch.setattr(kernel, "PAIRS_PER_LANDMARK", 1)
    sample = r"Compared on 3\d\d pairs, a random sample of the 480 that are not test pairs\."
    assert re.search(sample, printed("auto"))
    assert "Its kernel is fitted on 150 pairs, a random sample of the 600." in printed("kernel", "--landmarks", "20")
    result = fit(tmp_path / "b", files, "--kind", "kernel, reweighted", "--landmarks", "20")
    assert result["kernel_pairs"] == 150


@pytest.mark.parametrize("kind", ["canonical", "bidirectional"])
def test_a_pair_of_aligners_meets_in_a_third_space(tmp_path: Path, files: tuple[Path, Path], kind: str) -> None:
    options = ["--epochs", 2, "--device", "cpu"] if kind == "bidirectional" else []
    fit(tmp_path, files, "--kind", kind, *options)
    forward, backward = (read_artifact(tmp_path / "a" / name) for name in ("forward", "backward"))
    assert forward.target == backward.target
    assert forward.target.id not in ("made-old@1", "made-new@1")
    result = json.loads(
        run("evaluate", tmp_path / "a", "--old-gallery", files[0], "--new-gallery", files[1], "--json").stdout
    )
    assert result["converted"] is not None


def test_neural_kinds_train_and_resume(tmp_path: Path, files: tuple[Path, Path]) -> None:
    words = ["--kind", "dense", "--preset", "fc_aligner", "--device", "cpu", "--run-dir", tmp_path / "run"]
    words += ["--batch-size", 32]
    fit(tmp_path, files, *words, "--epochs", 5)
    fit(tmp_path, files, *words, "--epochs", 6, "--resume", "--overwrite")
    assert read_artifact(tmp_path / "a").manifest.kind == "dense"


def test_labels_split_by_subject(tmp_path: Path) -> None:
    pairs = make_pairs(300, source_dim=6, target_dim=6).pairs
    files = save(pairs, tmp_path)
    labels = [f"s{row % 30}" for row in range(300)]
    (tmp_path / "labels.txt").write_text("\n".join(labels))
    fit(tmp_path, files, "--kind", "ridge", "--labels", tmp_path / "labels.txt")
    artifact = read_artifact(tmp_path / "a")
    subjects = [
        {labels[int(identifier.removeprefix("item-"))] for identifier in artifact.pair_ids(part)}
        for part in ("train", "validation", "test")
    ]
    assert sum(map(len, subjects)) == 30
    (tmp_path / "labels.txt").write_text("one\ntwo")
    with pytest.raises(FileFormatError, match="labels must have one entry for each of the 300 rows .* Got 2"):
        fit(tmp_path, files, "--labels", tmp_path / "labels.txt", "--overwrite")


def test_npy_files_need_their_space(tmp_path: Path) -> None:
    pairs = make_pairs(300, source_dim=6, target_dim=6, normalized=True).pairs
    paths = tmp_path / "old.npy", tmp_path / "new.npy"
    for path, side in zip(paths, (pairs.source, pairs.target), strict=True):
        np.save(path, side.vectors)
    with pytest.raises(InputError, match=r"old\.npy does not name its space.*space=…"):
        fit(tmp_path, paths, "--kind", "ridge")
    fit(tmp_path, paths, "--kind", "ridge", "--old-space", "a@1", "--new-space", "b@2")
    artifact = read_artifact(tmp_path / "a")
    assert (artifact.source.id, artifact.target.id) == ("a@1", "b@2")
    assert artifact.target.normalized
    spaces = ["--old-space", "a@1", "--new-space", "b@2"]
    run("evaluate", tmp_path / "a", "--old-gallery", paths[0], "--new-gallery", paths[1], *spaces)


def test_int8_and_no_canary(tmp_path: Path, files: tuple[Path, Path]) -> None:
    fit(tmp_path, files, "--kind", "ridge", "--quantize", "int8", "--no-canary")
    artifact = read_artifact(tmp_path / "a")
    assert artifact.canary() is None
    assert {"float32_mean_cosine", "int8_mean_cosine"} <= {metric.name for metric in artifact.manifest.metrics}


def test_what_would_be_ignored_is_refused(tmp_path: Path, files: tuple[Path, Path]) -> None:
    with pytest.raises(InputError, match="are for the neural kinds"):
        fit(tmp_path, files, "--kind", "ridge", "--epochs", 3)
    with pytest.raises(InputError, match="--resume needs --run-dir"):
        fit(tmp_path, files, "--kind", "dense", "--resume")
    fit(tmp_path, files, "--kind", "ridge")
    with pytest.raises(InputError, match="--overwrite to replace"):
        fit(tmp_path, files, "--kind", "ridge")


def evaluate(folder: Path, files: tuple[Path, Path], *options: object) -> dict[str, object]:
    words = ["--old-gallery", files[0], "--new-gallery", files[1], "--json", *options]
    result: dict[str, object] = json.loads(run("evaluate", folder / "a", *words).stdout)
    return result


def test_queries_and_judgements_give_the_five_lines(tmp_path: Path, files: tuple[Path, Path]) -> None:
    fit(tmp_path, files, "--kind", "ridge")
    held_out = sorted(read_artifact(tmp_path / "a").pair_ids("test"))[:60]
    pairs = PairedEmbeddings(Embeddings.load(files[0]), Embeddings.load(files[1]))
    rows = [row for row, identifier in enumerate(pairs.ids) if identifier in held_out]
    requests = pairs.select(rows)
    noisy = PairedEmbeddings(
        *(
            Embeddings(side.vectors + 0.2 * np.roll(side.vectors, 1, axis=0), [f"q-{i}" for i in side.ids], side.space)
            for side in (requests.source, requests.target)
        )
    )
    queries = save(noisy, tmp_path, "-queries")
    (tmp_path / "qrels.tsv").write_text("".join(f"q-{identifier}\t0\t{identifier}\t1\n" for identifier in requests.ids))
    words = ["--old-queries", queries[0], "--new-queries", queries[1], "--qrels", tmp_path / "qrels.tsv"]
    result = evaluate(tmp_path, files, *words, "--out", tmp_path / "result.json")
    assert result == json.loads((tmp_path / "result.json").read_text())
    assert result["relevance"] == "qrels"
    assert result["queries"] == 60
    assert result["naive_swap"] is None
    for name in ("metric", "status_quo", "converted", "full_reindex", "retention", "retention_interval", "reason"):
        assert result[name] is not None
    assert result["decision"] in ("stay", "convert", "fused", "reindex")
    run("evaluate", tmp_path / "a", "--old-gallery", files[0], "--new-gallery", files[1], *words)


def test_without_judgements_labels_or_neighbours_serve(tmp_path: Path, files: tuple[Path, Path]) -> None:
    fit(tmp_path, files, "--kind", "ridge")
    result = evaluate(tmp_path, files)
    assert (result["relevance"], result["decision"]) == ("new_model_neighbours", "unjudged")
    labelled = save(make_pairs(600, source_dim=12, target_dim=10, noise=0.1, subjects=60).pairs, tmp_path, "-labelled")
    fit(tmp_path, labelled, "--kind", "ridge", "--overwrite")
    assert evaluate(tmp_path, labelled)["relevance"] == "labels"


def test_verification_prints_the_scenarios(tmp_path: Path) -> None:
    files = save(
        make_pairs(800, source_dim=16, target_dim=16, noise=0.2, subjects=160, normalized=True).pairs, tmp_path
    )
    fit(tmp_path, files, "--kind", "ridge")
    result = evaluate(tmp_path, files, "--task", "verification", "--frr", 0.1)
    scenarios = result["scenarios"]
    assert isinstance(scenarios, dict)
    assert list(scenarios) == ["S1", "S2", "S3", "S4"]
    for scenario in scenarios.values():
        assert {"threshold", "frr", "far", "far_at_frr", "mean_genuine", "mean_impostor"} <= set(scenario)
    assert scenarios["S1"]["frr"] <= 0.1
    words = ["--old-gallery", files[0], "--new-gallery", files[1], "--task", "verification"]
    output = run("evaluate", tmp_path / "a", *words, "--all-images")
    assert "False rates can differ between groups" in " ".join(output.output.split())
    people = sorted({row["label"] for row in pq.read_table(files[0]).to_pylist()})
    (tmp_path / "groups.tsv").write_text("".join(f"{name}\t{'ab'[row % 2]}\n" for row, name in enumerate(people)))
    by_group = evaluate(tmp_path, files, "--task", "verification", "--all-images", "--groups", tmp_path / "groups.tsv")
    assert set(by_group["groups"]) == {"a", "b"}
    assert by_group["groups"]["a"]["S3"]["people"] + by_group["groups"]["b"]["S3"]["people"] == by_group["subjects"]
    assert not any("False rates can differ" in note for note in by_group["notes"])


def test_a_gate_that_is_not_met_raises(tmp_path: Path, files: tuple[Path, Path]) -> None:
    fit(tmp_path, files, "--kind", "ridge")
    evaluate(tmp_path, files, "--min-retention", 0.1)
    with pytest.raises(GateError, match=r"must reach 1\.5"):
        evaluate(tmp_path, files, "--min-retention", 1.5)


def test_galleries_in_the_wrong_order_are_refused(tmp_path: Path, files: tuple[Path, Path]) -> None:
    fit(tmp_path, files, "--kind", "ridge")
    with pytest.raises(SpaceMismatchError, match="must be in space 'made-old@1'. Got 'made-new@1'"):
        evaluate(tmp_path, (files[1], files[0]))
    with pytest.raises(InputError, match="must be given together"):
        evaluate(tmp_path, files, "--old-queries", files[0])


def test_files_that_pandas_wrote_are_evaluated_as_they_stand(tmp_path: Path) -> None:
    pairs = make_pairs(300, source_dim=12, target_dim=10, noise=0.1).pairs
    sides = {}
    for name, side in (("old", pairs.source), ("new", pairs.target)):
        frame = pd.DataFrame({"docid": range(1, 301), "embedding": list(side.vectors)})
        frame.to_parquet(tmp_path / f"{name}.parquet")
        sides[name] = tmp_path / f"{name}.parquet"
    spaces = ["--old-space", "ada@1", "--new-space", "ada@2", "--similarity", "euclidean"]
    fitted = run("fit", *sides.values(), *spaces, "--kind", "ridge", "--no-refit", "--out", tmp_path / "a", "--json")
    assert "Paired 300 of 300 and 300 rows." in fitted.stderr
    result = run("evaluate", tmp_path / "a", "--old-gallery", sides["old"], "--new-gallery", sides["new"], "--json")
    assert json.loads(result.stdout)["kind"] == "retrieval"
    assert "old.parquet names no space: taken to be ada@1" in result.stderr.replace("\n", "")
    converted = run("convert", tmp_path / "a", sides["old"], tmp_path / "c.parquet", "--old-space", "ada@1")
    assert "300 rows in ada@2" in converted.stdout
    frame = pd.read_parquet(tmp_path / "c.parquet")
    assert (list(frame.columns), frame.docid.tolist()) == (["docid", "embedding"], list(range(1, 301)))
    assert Embeddings.load(tmp_path / "c.parquet").space.id == "ada@2"


def test_rows_are_paired_by_ids_that_mean_something(tmp_path: Path) -> None:
    pairs = make_pairs(600, source_dim=12, target_dim=10, noise=0.1).pairs
    np.save(tmp_path / "old.npy", pairs.source.vectors)
    np.save(tmp_path / "new.npy", pairs.target.vectors[1:])
    spaces = ["--old-space", "a@1", "--new-space", "a@2", "--out", tmp_path / "a", "--kind", "ridge"]
    with pytest.raises(InputError, match="only row numbers must stand for the same rows on both sides. Got 600"):
        run("fit", tmp_path / "old.npy", tmp_path / "new.npy", *spaces)
    pairs.source.save(tmp_path / "old.parquet")
    few = np.r_[0:60]
    others = [f"other-{row}" for row in range(540)]
    vectors = np.concatenate([pairs.target.vectors[few], pairs.target.vectors[60:]])
    Embeddings(vectors, [*pairs.ids[few], *others], pairs.target.space).save(tmp_path / "new.parquet")
    with pytest.raises(InputError, match="paired 60 of 600 and 600: less than half"):
        run("fit", tmp_path / "old.parquet", tmp_path / "new.parquet", "--out", tmp_path / "a", "--kind", "ridge")
    words = ["fit", tmp_path / "old.parquet", tmp_path / "new.parquet", "--out", tmp_path / "a", "--kind", "ridge"]
    assert "Paired 60 of 600 and 600 rows." in run(*words, "--partial").stderr


def test_shuffled_pairs_are_said_first_marked_and_end_with_3(tmp_path: Path, files: tuple[Path, Path]) -> None:
    new = Embeddings.load(files[1])
    order = np.random.default_rng(0).permutation(len(new))
    Embeddings(new.vectors[order], new.ids, new.space).save(files[1])
    words: list[object] = ["fit", *files, "--kind", "ridge", "--no-canary", "--out", tmp_path / "a"]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert isinstance(result.exception, GateError)
    assert result.stdout.startswith("No better than chance")
    artifact = read_artifact(tmp_path / "a")
    assert is_at_chance(artifact)
    with pytest.raises(GateError, match=r"must do better than chance .* --force"):
        require_better_than_chance(artifact)
    require_better_than_chance(artifact, force=True)
    words = ["convert", tmp_path / "a", files[0], tmp_path / "converted.parquet"]
    with pytest.raises(GateError, match="must do better than chance"):
        run(*words)
    run(*words, "--force")


def test_items_that_answer_queries_are_kept_out(tmp_path: Path, files: tuple[Path, Path]) -> None:
    ids = Embeddings.load(files[0]).ids[:50].tolist()
    (tmp_path / "qrels.tsv").write_text("".join(f"q0\t0\t{identifier}\t1\n" for identifier in ids))
    result = fit(tmp_path, files, "--kind", "ridge", "--keep-out", tmp_path / "qrels.tsv")
    assert result["kept_out"] == 50
    assert sum(result["split"].values()) == 550
    assert not read_artifact(tmp_path / "a").pair_ids() & set(ids)


def test_options_of_a_closed_form_reach_it(tmp_path: Path, files: tuple[Path, Path]) -> None:
    fit(tmp_path, files, "--kind", "kernel", "--penalty", 2, "--landmarks", 7)
    assert read_artifact(tmp_path / "a").weights()["landmarks"].shape[0] == 7
    with pytest.raises(InputError, match="--landmarks is for the kinds kernel, pieces. Got --kind ridge"):
        fit(tmp_path, files, "--kind", "ridge", "--landmarks", 7, "--overwrite")
    with pytest.raises(InputError, match="must agree"):
        fit(tmp_path, files, "--kind", "ridge, reweighted", "--no-reweight", "--overwrite")


def test_reweighting_by_name_and_by_flag_are_one(tmp_path: Path) -> None:
    files = save(make_pairs(300, source_dim=8, target_dim=8, noise=0.4, normalized=True).pairs, tmp_path)
    fit(tmp_path, files, "--kind", "ridge, reweighted")
    first = read_artifact(tmp_path / "a").weights()["weight"]
    fit(tmp_path, files, "--kind", "ridge", "--reweight", "--overwrite")
    np.testing.assert_array_equal(read_artifact(tmp_path / "a").weights()["weight"], first)
    fit(tmp_path, files, "--kind", "ridge", "--no-reweight", "--overwrite")
    assert not np.allclose(read_artifact(tmp_path / "a").weights()["weight"], first)
