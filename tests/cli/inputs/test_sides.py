"""What people have, in every command that takes a gallery: their formats, their columns, their ids and labels."""

from __future__ import annotations

import gzip
import json
import shlex
from collections.abc import Callable
from pathlib import Path

import h5py
import lancedb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner, Result

from embcompat.cli import app
from embcompat.embeddings import Embeddings
from embcompat.testing import make_pairs

PAIRS = make_pairs(160, source_dim=6, target_dim=8, how="affine", noise=0.2, normalized=True).pairs
OLD, NEW = PAIRS.source.vectors, PAIRS.target.vectors
SPACES = ["--old-space", "ada@2", "--new-space", "mini@1"]


def run(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(word) for word in words], standalone_mode=False)
    exit_code = result.return_value or getattr(result.exception, "exit_code", None) or 0
    if result.exception is not None and not exit_code:
        raise result.exception
    assert exit_code == code, result.output
    return result


def frame(vectors: NDArray[np.float32]) -> pd.DataFrame:
    return pd.DataFrame({"docid": np.arange(len(vectors)) * 7, "embedding": list(vectors.astype(float))})


def write_partitions(path: Path, vectors: NDArray[np.float32]) -> None:
    table = pa.Table.from_pandas(frame(vectors).assign(part=np.arange(len(vectors)) // 80), preserve_index=False)
    ds.write_dataset(table, path, format="parquet", partitioning=["part"], partitioning_flavor="hive")


def write_lines(path: Path, vectors: NDArray[np.float32], *, name: str = "embedding") -> None:
    lines = [json.dumps({"_id": row * 7, name: vector.tolist()}) for row, vector in enumerate(vectors)]
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt") as stream:
        stream.write("\n".join(lines))


def write_batch(path: Path, vectors: NDArray[np.float32]) -> None:
    answers = [
        {"custom_id": f"{row}", "response": {"body": {"data": [{"embedding": vector.tolist()}]}}}
        for row, vector in enumerate(vectors)
    ]
    path.write_text("\n".join(map(json.dumps, answers)))


def write_csv(path: Path, vectors: NDArray[np.float32]) -> None:
    pl.DataFrame(
        {"id": range(len(vectors)), **{f"v{place}": vectors[:, place] for place in range(vectors.shape[1])}}
    ).write_csv(path, separator=";")


def write_hdf5(path: Path, vectors: NDArray[np.float32]) -> None:
    with h5py.File(path, "w") as file:
        file["emb"], file["id"] = vectors, np.arange(len(vectors))


def write_fvecs(path: Path, vectors: NDArray[np.float32]) -> None:
    lengths = np.full((len(vectors), 1), vectors.shape[1], np.int32)
    np.hstack([lengths, vectors.astype("<f4").view(np.int32)]).tofile(path)


def write_fbin(path: Path, vectors: NDArray[np.float32]) -> None:
    path.write_bytes(np.array(vectors.shape, "<u4").tobytes() + vectors.astype("<f4").tobytes())


def write_saved_dataset(path: Path, vectors: NDArray[np.float32]) -> None:
    import datasets

    datasets.Dataset.from_pandas(frame(vectors)).save_to_disk(str(path))


FORMATS: dict[str, Callable[[Path, NDArray[np.float32]], object]] = {
    "pandas.parquet": lambda path, vectors: frame(vectors).to_parquet(path),
    "upper.PQ": lambda path, vectors: frame(vectors).to_parquet(path),
    "frame.feather": lambda path, vectors: pl.from_pandas(frame(vectors)).write_ipc(path),
    "parts": write_partitions,
    "saved": write_saved_dataset,
    "array.npy": lambda path, vectors: np.save(path, vectors),
    "arrays.npz": lambda path, vectors: np.savez(path, vector=vectors, id=np.arange(len(vectors))),
    "lines.jsonl.gz": write_lines,
    "LINES.NDJSON": write_lines,
    "answer.jsonl": write_batch,
    "wide.csv": write_csv,
    "table.h5": write_hdf5,
    "base.fvecs": write_fvecs,
    "base.fbin": write_fbin,
}


MEASURES = ("evaluate", "thresholds", "backfill curve")
"""They open their galleries by the same function, so that each format goes through one of them, and `make soak` tries
all."""


def measure(command: str, artifact: Path, old: Path, new: Path, labels: Path) -> None:
    words = [*command.split(), artifact, "--old-gallery", old, "--new-gallery", new, "--labels", labels]
    if command == "evaluate":
        assert f"{old} names no space: taken to be ada@2, as the artifact says." in run(*words).stderr
    elif command == "thresholds":
        assert json.loads(run(*words, "--threshold", "0.5", "--json").stdout)["kind"] == "thresholds"
    else:
        run(*words, "--steps", "3", "--orders", "random", "--out", artifact.with_name("curve.json"))


@pytest.mark.parametrize(
    ("name", "measures"),
    [
        *(pytest.param(name, MEASURES[place % 3 :][:1], id=name) for place, name in enumerate(FORMATS)),
        *(pytest.param(name, MEASURES, id=f"{name}, all", marks=pytest.mark.soak) for name in FORMATS),
    ],
)
def test_every_format_goes_through_every_command(name: str, measures: tuple[str, ...], tmp_path: Path) -> None:
    sides = []
    for model, vectors in (("old", OLD), ("new", NEW)):
        (tmp_path / model).mkdir()
        sides.append(tmp_path / model / name)
        FORMATS[name](sides[-1], vectors)
    old, new = sides
    labels = tmp_path / "who.txt"
    labels.write_text("\n".join(f"person {row // 4}" for row in range(len(OLD))))
    artifact = tmp_path / "old-to-new"
    run("doctor", old)
    fitted = run("fit", old, new, *SPACES, "--labels", labels, "--kind", "ridge", "--no-refit", "--out", artifact)
    assert "Paired 160 of 160 and 160 rows." in fitted.stderr
    for command in measures:
        measure(command, artifact, old, new, labels)
    plan = ["--out", tmp_path / "PLAN.json", "--ids", tmp_path / "ids.txt"]
    run("backfill", "plan", artifact, old, "--budget-rows", "5", *plan)
    converted = tmp_path / "converted.parquet"
    outcome = run("convert", artifact, old, converted)
    assert "names no space: taken to be ada@2, as the artifact says." in outcome.stderr
    copy = Embeddings.load(converted)
    assert (len(copy), copy.space.id) == (160, "mini@1")
    assert copy.row_numbers == (name in ("array.npy", "base.fvecs", "base.fbin"))
    assert (copy.vectors * NEW).sum(axis=1).mean() > 0.8


def test_one_table_with_both_models(tmp_path: Path) -> None:
    table = pd.DataFrame({"sku": np.arange(160), "ada": list(OLD), "mini": list(NEW), "emb": list(NEW)})
    table.to_parquet(tmp_path / "both.parquet")
    path = tmp_path / "both.parquet"
    run("fit", f"{path}#ada?key=sku", f"{path}#mini?key=sku", *SPACES, "--kind", "ridge", "--out", tmp_path / "a")
    run("convert", tmp_path / "a", f"{path}#ada?key=sku", tmp_path / "copy.parquet")
    assert (Embeddings.load(f"{tmp_path / 'copy.parquet'}").vectors * NEW).sum(axis=1).mean() > 0.8
    loaded = Embeddings.load(f"{path}#ada?key=sku", space="ada@2")
    np.testing.assert_array_equal(loaded.vectors, OLD)
    with pytest.raises(Exception, match=r"takes only key=COLUMN after \?"):
        Embeddings.load(f"{path}#ada?keys=sku", space="ada@2")


def test_a_chosen_column_may_be_in_one_of_the_files(tmp_path: Path) -> None:
    frame(OLD).rename(columns={"docid": "sku"}).assign(who="x").to_parquet(tmp_path / "old.parquet")
    names = [str(row * 7) for row in range(160)]
    Embeddings(NEW, names, PAIRS.target.space).save(tmp_path / "new.parquet")
    words = ["fit", tmp_path / "old.parquet", tmp_path / "new.parquet", "--old-space", "ada@2", "--kind", "ridge"]
    result = run(*words, "--id-column", "sku", "--out", tmp_path / "a")
    assert "Paired 160 of 160 and 160 rows." in result.stderr
    with pytest.raises(
        Exception, match=r"must have the column 'nope' \(--id-column\). Got .*old.parquet: sku, embedding"
    ):
        run(*words, "--id-column", "nope", "--out", tmp_path / "b")


def test_ids_from_a_file_are_for_what_has_none(tmp_path: Path) -> None:
    np.save(tmp_path / "old.npy", OLD)
    names = [f"img/{row}.jpg" for row in range(160)]
    order = np.random.default_rng(1).permutation(160)
    Embeddings(NEW[order], [names[row] for row in order], PAIRS.target.space).save(tmp_path / "new.parquet")
    (tmp_path / "ids.txt").write_text("\n".join(names))
    words = ["--ids", tmp_path / "ids.txt", "--old-space", "ada@2", "--kind", "ridge", "--out", tmp_path / "a"]
    run("fit", tmp_path / "old.npy", tmp_path / "new.parquet", *words)  # joined by id, not by row
    run("convert", tmp_path / "a", tmp_path / "old.npy", tmp_path / "c.parquet", "--ids", tmp_path / "ids.txt")
    copy = Embeddings.load(tmp_path / "c.parquet")
    assert (copy.ids.tolist(), copy.row_numbers) == (names, False)
    assert (copy.vectors * NEW).sum(axis=1).mean() > 0.8
    with pytest.raises(
        Exception, match=r"must have no ids of its own if a file of ids is passed \(ids=…\). It has column 'id'"
    ):
        Embeddings.load(tmp_path / "new.parquet", ids=names)


@pytest.mark.parametrize("name", ["who.txt", "who.tsv", "who.csv", "who.parquet"])
def test_labels_by_id_are_joined_by_id(name: str, tmp_path: Path) -> None:
    frame(OLD).to_parquet(tmp_path / "old.parquet")
    table = pd.DataFrame({"id": (np.arange(160) * 7).astype(str), "label": [f"p{row // 4}" for row in range(160)]})
    table = table.sample(frac=1, random_state=0)
    if name.endswith(".parquet"):
        table.to_parquet(tmp_path / name, index=False)
    else:
        table.to_csv(tmp_path / name, index=False, sep="," if name.endswith(".csv") else "\t", header=name != "who.txt")
    labels = Embeddings.load(tmp_path / "old.parquet", space="ada@2", labels=tmp_path / name).labels
    assert labels is not None
    assert labels.tolist() == [f"p{row // 4}" for row in range(160)]
    table.iloc[1:].to_csv(tmp_path / "short.txt", index=False, sep="\t", header=False)
    with pytest.raises(Exception, match=f"must give every row of .* a label. '{table.iloc[0]['id']}' has none"):
        Embeddings.load(tmp_path / "old.parquet", space="ada@2", labels=tmp_path / "short.txt")


def test_a_store_takes_the_place_of_a_file(tmp_path: Path) -> None:
    rows = {
        "id": np.arange(160),
        "body": [f"text {row}" for row in range(160)],
        "who": [f"p{row // 4}" for row in range(160)],
    }
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(OLD.reshape(-1)), 6)
    lancedb.connect(str(tmp_path / "lance")).create_table("docs", pa.table({**rows, "vector": vectors}))
    url = f"lancedb://{tmp_path / 'lance'}#docs.vector"
    pd.DataFrame({"sku": np.arange(160), "embedding": list(NEW)}).to_parquet(tmp_path / "new.parquet")
    new, artifact = tmp_path / "new.parquet", tmp_path / "a"
    run(
        "fit",
        url,
        new,
        *SPACES,
        "--id-column",
        "sku",
        "--label-column",
        "who",
        "--kind",
        "ridge",
        "--no-refit",
        "--out",
        artifact,
    )
    outcome = run("evaluate", artifact, "--old-gallery", url, "--new-gallery", new, "--id-column", "sku")
    assert f"{url} names no space: taken to be ada@2, as the artifact says." in outcome.stderr
    plan = ["--out", tmp_path / "PLAN.json", "--ids", tmp_path / "ids.txt", "--budget-rows", "5"]
    run("backfill", "plan", artifact, url, *plan)
    (tmp_path / "who.txt").write_text("".join(f"{row}\tc{row % 5}\n" for row in range(160)))
    run("backfill", "plan", artifact, url, *plan, "--order", "class_mean", "--labels", tmp_path / "who.txt")
    (tmp_path / "bare.txt").write_text("\n".join("abcd" * 40))
    with pytest.raises(
        Exception, match="must hold an id, a tab and a label in each line: the rows of .* have no order"
    ):
        run("backfill", "plan", artifact, url, *plan, "--labels", tmp_path / "bare.txt")
    with pytest.raises(Exception, match="--id-column is for files. The address of a store names its key"):
        run("convert", artifact, url, tmp_path / "x.parquet", "--id-column", "id")
    report = run(
        "convert", artifact, url, tmp_path / "x.parquet", "--text-column", "body", "--label-column", "who", "--json"
    )
    assert json.loads(report.stdout)["source"] == url
    copy = Embeddings.load(tmp_path / "x.parquet")
    assert copy.texts is not None
    assert copy.texts.tolist() == [f"text {identifier}" for identifier in copy.ids]
    assert (copy.vectors * NEW[copy.ids.astype(int)]).sum(axis=1).mean() > 0.8
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_an_empty_table_has_no_vectors(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("id,vector\n")
    with pytest.raises(Exception, match="must hold at least one vector, so that its dimension is known"):
        run("doctor", tmp_path / "empty.csv")


@pytest.mark.parametrize("name", ["vectors.parquet", "VECTORS.PQ"])
def test_a_file_with_other_columns_is_migrated(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_pairs = [tmp_path / "old.parquet", tmp_path / "new.parquet"]
    for path, side in zip(save_pairs, (PAIRS.source, PAIRS.target), strict=True):
        side.save(path)
    run("fit", *save_pairs, "--kind", "ridge", "--out", "a")
    indexed = pd.DataFrame({"other": list(NEW), "embedding": list(OLD), "body": "text"}, index=np.arange(160) * 7)
    indexed.index.name = "sku"
    indexed.to_parquet(name)
    address = f"{name}#embedding?key=sku"
    run("migrate", "run", "a", address)
    run("migrate", "cutover", "a", address)
    embeddings = Embeddings.load(address)
    assert (embeddings.space.id, embeddings.ids.tolist()) == (
        PAIRS.target.space.id,
        [str(row * 7) for row in range(160)],
    )
    assert (embeddings.vectors * NEW).sum(axis=1).mean() > 0.8
    copy = pd.read_parquet(name)
    assert copy["body"].tolist() == ["text"] * 160
    np.testing.assert_array_equal(np.stack(copy["other"]), NEW)
    run("migrate", "rollback", "a", address)
    np.testing.assert_array_equal(np.stack(pd.read_parquet(name)["embedding"]), OLD)
    indexed.rename(columns={"embedding": "first"}).to_parquet(name)
    with pytest.raises(Exception, match=r"several columns that could be the vectors: other, first"):
        run("migrate", "plan", "a", name)


PAGE = Path(__file__).parents[3] / "docs/how-to/use-your-own-vectors.md"


def documented(start: str) -> list[list[str]]:
    """Return the commands of the first shell block of the page after some words."""
    block = PAGE.read_text(encoding="utf-8").partition(start)[2].partition("```sh\n")[2].partition("```")[0]
    return [shlex.split(line)[1:] for line in block.splitlines() if line]


def test_a_data_frame_reaches_a_verdict_as_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(3)
    meaning = rng.standard_normal((600, 12))
    queries = meaning[:60] + 0.3 * rng.standard_normal((60, 12))
    turn = np.linalg.qr(rng.standard_normal((12, 12)))[0]
    for model, noise, turned in (("old", 0.9, np.eye(12)), ("new", 0.2, turn)):
        for name, rows in ((f"{model}.parquet", meaning), (f"{model}-queries.parquet", queries)):
            frame((rows + noise * rng.standard_normal(rows.shape)) @ turned).to_parquet(name)
    Path("qrels.tsv").write_text("".join(f"{row * 7} 0 {row * 7} 1\n" for row in range(60)))
    fit, evaluate = documented("From a data frame")
    run(*fit)
    result = json.loads(run(*evaluate, "--json").stdout)
    assert (result["kind"], result["relevance"], result["queries"]) == ("retrieval", "qrels", 60)
    assert result["decision"] not in ("unjudged", "stay")


def test_faces_reach_a_verdict_as_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(4)
    people = np.repeat(rng.standard_normal((80, 12)), 4, axis=0)
    turn = np.linalg.qr(rng.standard_normal((12, 12)))[0]
    np.save("old.npy", (people + 0.5 * rng.standard_normal(people.shape)).astype(np.float32))
    np.save("new.npy", ((people + 0.2 * rng.standard_normal(people.shape)) @ turn).astype(np.float32))
    Path("names.txt").write_text("".join(f"person {row // 4}\r\n" for row in range(320)))
    fit, evaluate = documented("From two `.npy` files")
    run(*fit)
    result = json.loads(run(*evaluate, "--json").stdout)
    assert result["kind"] == "verification"
    assert result["decision"]
