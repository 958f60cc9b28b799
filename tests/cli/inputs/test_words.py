"""A text-aware aligner from fit to converted file on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import embcompat as ec
from embcompat.cli import app
from embcompat.errors import InputError, MigrationError

pytest.importorskip("embcompat_text.packaged")

RUNNER = CliRunner()
SUBJECTS = ("wing", "heat", "flow", "plate", "shock", "layer", "jet", "rotor")
OBJECTS = ("tests", "theory", "pressure", "measurement", "model", "noise", "cooling", "design")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Items, and their vectors under a poor old model and static64."""
    path = tmp_path_factory.mktemp("words")
    rng = np.random.default_rng(0)
    texts = {f"doc{row}": " ".join([*rng.choice(SUBJECTS, 3), "and", *rng.choice(OBJECTS, 3)]) for row in range(300)}
    (path / "items.jsonl").write_text("".join(json.dumps({"id": i, "text": t}) + "\n" for i, t in texts.items()))
    new = ec.extract_embeddings(ec.load_extractor("static64"), list(texts.values()), ids=list(texts))
    new.save(path / "new.parquet")
    space = ec.SpaceVersion(name="poor", version="1", dim=6, similarity="dot")
    vectors = new.vectors @ rng.standard_normal((64, 6)) + rng.standard_normal((300, 6))
    ec.Embeddings(vectors, new.ids, space).save(path / "old.parquet")
    return path


def run(*arguments: object) -> dict:
    result = RUNNER.invoke(app, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def artifact(folder: Path) -> Path:
    out = folder / "map"
    fitted = run(
        *("fit", folder / "old.parquet", folder / "new.parquet", "--out", out, "--kind", "text_aware"),
        *("--items", folder / "items.jsonl", "-e", "static64"),
    )
    assert fitted["kind"] == "text_aware"
    assert [part["name"] for part in fitted["parts"]][:2] == ["plain", "words"]
    assert next(part for part in fitted["parts"] if part["name"] == "words")["used"]
    return out


def test_auto_takes_words_where_held_out_pairs_are_surely_better_for_them(folder: Path) -> None:
    sides = (folder / "old.parquet", folder / "new.parquet", "--items", folder / "items.jsonl")
    fitted = run("fit", *sides, "-e", "static64", "--out", folder / "auto")
    assert fitted["kind"] == "text_aware"
    assert fitted["words_gain"]["low"] > 0
    assert fitted["refitted"]
    assert fitted["chosen"] in [row["name"] for row in fitted["candidates"]]


def test_auto_leaves_words_out_where_the_old_vector_says_it_all(folder: Path) -> None:
    new = ec.Embeddings.load(folder / "new.parquet")
    space = ec.SpaceVersion(name="same", version="1", dim=new.space.dim, similarity="dot")
    ec.Embeddings(2 * new.vectors, new.ids, space).save(folder / "twice.parquet")
    sides = (folder / "twice.parquet", folder / "new.parquet", "--items", folder / "items.jsonl")
    fitted = run("fit", *sides, "-e", "static64", "--out", folder / "auto-same")
    assert fitted["kind"] != "text_aware"
    assert fitted["words_gain"]["low"] <= 0
    assert fitted["refitted"]


def test_a_file_is_converted_with_its_items(folder: Path, artifact: Path) -> None:
    out = folder / "converted.parquet"
    report = run("convert", artifact, folder / "old.parquet", out, "--items", folder / "items.jsonl")
    assert report["rows_without_text"] == 0
    converted, new = ec.Embeddings.load(out), ec.Embeddings.load(folder / "new.parquet")
    cosine = np.sum(converted.vectors * new.vectors, axis=1).mean()
    plain = ec.OnnxAligner(artifact).transform_plain(ec.Embeddings.load(folder / "old.parquet").vectors)
    assert not np.array_equal(converted.vectors, plain)
    assert cosine > np.sum(plain * new.vectors, axis=1).mean() + 0.1


def test_a_column_of_texts_does_as_well_and_rows_without_one_are_counted(folder: Path, artifact: Path) -> None:
    items = [json.loads(line) for line in (folder / "items.jsonl").read_text().splitlines()]
    texts = {item["id"]: item["text"] for item in items[10:]}
    ec.Embeddings.load(folder / "old.parquet").with_texts(texts).save(folder / "worded.parquet")
    report = run("convert", artifact, folder / "worded.parquet", folder / "converted2.parquet")
    assert report["rows_without_text"] == 10
    converted = ec.Embeddings.load(folder / "converted2.parquet")
    assert converted.texts is not None
    old = ec.Embeddings.load(folder / "worded.parquet")
    np.testing.assert_allclose(converted.vectors, ec.OnnxAligner(artifact).convert(old).vectors, atol=1e-5)


def test_missing_texts_are_refused_before_the_work(folder: Path, artifact: Path) -> None:
    with pytest.raises(InputError, match="reads the text of each item, and .*old.parquet has no column of texts"):
        ec.convert_file(artifact, folder / "old.parquet", folder / "none.parquet")
    assert not (folder / "none.parquet").exists()
    bare = ["fit", str(folder / "old.parquet"), str(folder / "new.parquet"), "--out", str(folder / "x")]
    result = RUNNER.invoke(app, [*bare, "--kind", "text_aware", "-e", "static64"])
    assert isinstance(result.exception, InputError)
    assert "words are read from texts. Pass --items" in str(result.exception)


def test_another_models_words_are_refused(folder: Path) -> None:
    arguments = ["fit", folder / "new.parquet", folder / "old.parquet", "--out", folder / "y", "--kind", "text_aware"]
    result = RUNNER.invoke(app, [*map(str, arguments), "--items", str(folder / "items.jsonl"), "-e", "static64"])
    assert result.exit_code != 0


def test_an_interrupted_run_with_other_texts_starts_anew(folder: Path, artifact: Path) -> None:
    items = [json.loads(line) for line in (folder / "items.jsonl").read_text().splitlines()]
    texts = {item["id"]: item["text"] for item in items}

    def stop_after_one_block(_rows: int):  # type: ignore[no-untyped-def]
        from contextlib import nullcontext

        def advance(_done: int) -> None:
            raise MigrationError("stopped")

        return nullcontext(advance)

    out = folder / "resumed.parquet"
    with pytest.raises(MigrationError, match="stopped"):
        ec.convert_file(
            artifact, folder / "old.parquet", out, texts=texts, batch_size=256, threads=1, progress=stop_after_one_block
        )
    other = dict.fromkeys(texts, "wing noise")
    report = ec.convert_file(artifact, folder / "old.parquet", out, texts=other, batch_size=256)
    assert report.resumed_rows == 0


def test_a_store_is_refused_before_anything_is_made(folder: Path, artifact: Path) -> None:
    from embcompat.migration import run_migration
    from embcompat.stores import open_store

    gallery = folder / "gallery.parquet"
    gallery.write_bytes((folder / "old.parquet").read_bytes())
    store = open_store(str(gallery))
    with pytest.raises(InputError, match="Name the column of texts: --text-column"):
        run_migration(ec.OnnxAligner(artifact), store)
    assert sorted(path.name for path in folder.glob("gallery*")) == ["gallery.parquet"]


def test_items_are_for_one_file(folder: Path, artifact: Path) -> None:
    (folder / "parts").mkdir()
    arguments = ["convert", artifact, folder / "parts", folder / "out", "--items", folder / "items.jsonl"]
    result = RUNNER.invoke(app, list(map(str, arguments)))
    assert isinstance(result.exception, InputError)
    assert "are for one file" in str(result.exception)
