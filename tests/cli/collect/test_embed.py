from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner, Result

from embcompat.cli import app
from embcompat.cli.collect.embed import with_pieces
from embcompat.cli.inputs.items import Items, read_items
from embcompat.embeddings import Embeddings
from embcompat.errors import ExtractionError, FileFormatError, InputError, UnknownNameError
from embcompat.extractors import extract_embeddings
from embcompat.spaces import SpaceVersion


class Lengths:
    """Embeds a text, or the name of a file, as its length; refuses what is empty."""

    chunk_size = 2

    def __init__(self, model: str = "lengths", *, modality: str = "text", batch_size: int = 2, stop: int = -1) -> None:
        self.space = SpaceVersion(name=model, version=str(batch_size), dim=1, similarity="dot", modality=modality)
        self.stop = stop

    def extract(self, items: Sequence[Any]) -> NDArray[np.float32]:
        if self.stop in [len(str(item)) for item in items]:
            raise KeyboardInterrupt
        if any(item in ("", None) for item in items):
            raise ExtractionError("there is nothing in it")
        return np.array([[len(str(getattr(item, "name", item)))] for item in items], dtype=np.float32).reshape(-1, 1)

    def notes(self, items: Sequence[Any]) -> list[str]:
        return [f"{sum(len(str(item)) > 100 for item in items)} of {len(items)} texts are long."]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a working directory where the extractor `lengths` is installed."""
    (tmp_path / "site").mkdir()
    info = tmp_path / "site" / "embcompat_test_lengths-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: embcompat-test-lengths\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[embcompat.extractors]\nlengths = embcompat_test_lengths:Lengths\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setitem(sys.modules, "embcompat_test_lengths", sys.modules[__name__])
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def run(*args: str) -> Result:
    """Run a command; errors are raised as they reach the command line's main."""
    result = CliRunner().invoke(app, args, standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result


def embed_file(path: str, *args: str) -> Embeddings:
    run("embed", path, "--extractor", "lengths", "--out", "out.parquet", "--overwrite", *args)
    return Embeddings.load("out.parquet")


def test_lines_of_a_text_file(folder: Path) -> None:
    Path("in.txt").write_bytes("\ufeffone\r\nthree\nß 日本語\n".encode())
    result = embed_file("in.txt")
    assert result.ids.tolist() == ["0", "1", "2"]
    assert result.vectors[:, 0].tolist() == [3, 5, 5]
    assert result.labels is None
    assert result.space.id == "lengths@2"


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_the_usual_columns(folder: Path, suffix: str) -> None:
    rows = [{"id": "a", "text": "one, two\nthree", "label": "x"}, {"id": "b", "text": "four", "label": "y"}]
    write(Path(f"in.{suffix}"), rows)
    result = embed_file(f"in.{suffix}")
    assert result.ids.tolist() == ["a", "b"]
    assert result.vectors[:, 0].tolist() == [14, 4]
    assert result.labels is not None
    assert result.labels.tolist() == ["x", "y"]


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_chosen_columns_and_limit(folder: Path, suffix: str) -> None:
    rows = [{"key": number, "body": "x" * (number + 1), "other": "y", "kind": "k"} for number in range(5)]
    write(Path(f"in.{suffix}"), rows)
    chosen = ("--id-column", "key", "--text-column", "body", "--label-column", "kind", "--limit", "3")
    result = embed_file(f"in.{suffix}", *chosen)
    assert result.ids.tolist() == ["0", "1", "2"]
    assert result.vectors[:, 0].tolist() == [1, 2, 3]
    assert result.labels is not None
    assert set(result.labels) == {"k"}


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    else:
        lines = [",".join(rows[0])]
        lines += [",".join('"' + str(value).replace('"', '""') + '"' for value in row.values()) for row in rows]
        path.write_text("\n".join(lines))


def test_the_only_other_column_is_the_text(folder: Path) -> None:
    write(Path("in.jsonl"), [{"_id": 7, "query": "what"}])
    assert read_items(Path("in.jsonl")).ids == ["7"]
    write(Path("in.csv"), [{"sentence": "a"}, {"sentence": "b"}])
    result = read_items(Path("in.csv"))
    assert (result.items, result.ids, result.labels) == (["a", "b"], ["0", "1"], None)
    assert result.origin == "texts from column 'sentence', ids are row numbers from 0"


def test_a_very_long_field(folder: Path) -> None:
    write(Path("in.csv"), [{"id": "a", "text": "x" * 300_000}])
    assert embed_file("in.csv").vectors.item() == 300_000


def test_a_folder_of_images(folder: Path) -> None:
    for name in ("ann/1.jpg", "ann/2.PNG", "bob/3.jpg", ".thumbnails/ann/1.jpg"):
        Path("photos", name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(Path("photos", name))
    Path("photos/ann/notes.txt").write_text("not an image")
    Path("photos/ann/.hidden.jpg").write_text("not an image")
    result = embed_file("photos", "--option", "modality=face")
    assert result.ids.tolist() == ["ann/1.jpg", "ann/2.PNG", "bob/3.jpg"]
    assert result.labels is not None
    assert result.labels.tolist() == ["ann", "ann", "bob"]
    assert embed_file("photos/bob", "--option", "modality=face").labels is None
    output = run("embed", "photos", "-e", "lengths", "-o", "out.parquet", "--overwrite", "--option", "modality=face")
    assert "Left out: 1 .txt." in output.stderr
    assert "Left out: 1 hidden or cache folder .thumbnails." in output.stderr
    Path("photos/again").symlink_to("ann")
    linked = run("embed", "photos", "-e", "lengths", "-o", "out.parquet", "--overwrite", "--option", "modality=face")
    assert "Left out: 1 links to a folder that is read already." in linked.stderr
    assert len(Embeddings.load("out.parquet")) == 3
    Path("photos/again").unlink()
    Path("photos/train").mkdir()
    Path("photos/ann").rename("photos/train/ann")
    with pytest.raises(InputError, match=r"all its images at one depth.*Got bob/3.jpg and train/ann/1.jpg"):
        embed_file("photos", "--option", "modality=face")
    Path("photos/bob").rename("photos/train/bob")
    labels = embed_file("photos", "--option", "modality=face").labels
    assert labels is not None
    assert labels.tolist() == ["ann", "ann", "bob"]
    first = embed_file("photos", "--option", "modality=face", "--label-level", "1").labels
    assert first is not None
    assert first.tolist() == ["train"] * 3
    with pytest.raises(InputError, match="lengths embeds texts, so INPUT must be a file. Got the directory photos"):
        embed_file("photos/train/bob")


def test_a_stopped_run_resumes(folder: Path) -> None:
    Path("in.txt").write_text("a\nbb\nccc\ndddd\neeeee\nffffff\n")
    words = ["embed", "in.txt", "--extractor", "lengths", "--out", "out.parquet", "--option", "stop=5"]
    assert CliRunner().invoke(app, words).exit_code != 0
    parts = Path(".out.parquet.parts")
    size = parts.stat().st_size
    assert size == 4 * 20
    with parts.open("ab") as stream:
        stream.write(b"half a record")
    requests: list[str] = []

    class Counting(Lengths):
        def extract(self, items: Sequence[Any]) -> NDArray[np.float32]:
            requests.extend(items)
            return super().extract(items)

    extract_embeddings(Counting(), Path("in.txt").read_text().split(), parts=parts)
    assert requests == ["eeeee", "ffffff"]
    assert embed_file("in.txt").vectors.ravel().tolist() == [1, 2, 3, 4, 5, 6]
    assert not parts.exists()


def test_tables_with_other_delimiters(folder: Path) -> None:
    Path("in.csv").write_text("id;text\na;one, two\n")
    Path("in.tsv").write_text("id\ttext\na\tone, two\n")
    for name in ("in.csv", "in.tsv"):
        assert read_items(Path(name)).items == ["one, two"]
    with pytest.raises(FileFormatError, match=r"one column that holds ';'.*delimiter=… ';'"):
        read_items(Path("in.csv"), delimiter=",")


def test_an_id_that_cannot_be_saved_is_refused_before_the_work(folder: Path) -> None:
    Path("in.jsonl").write_text('{"id": "a\\ud800", "text": "one"}')
    with pytest.raises(FileFormatError, match=r"the id of row 0 must be valid Unicode. Got 'a\\ud800'"):
        read_items(Path("in.jsonl"))


def test_options_reach_the_extractor(folder: Path) -> None:
    Path("in.txt").write_text("one")
    assert embed_file("in.txt", "--model", "other", "--batch-size", "9").space.id == "other@9"
    assert embed_file("in.txt", "--option", "model=a.b", "--option", 'modality="face"').space.modality == "face"
    with pytest.raises(InputError, match="'lengths' cannot name its space. name: String should match"):
        embed_file("in.txt", "--option", "model=a=b")
    assert embed_file("in.txt", "--option", "model=1.10", "--option", "batch-size=3").space.id == "1.10@3"
    with pytest.raises(InputError, match="KEY=VALUE, each key once. Got 'batch_size'"):
        embed_file("in.txt", "--option", "batch_size")
    with pytest.raises(InputError, match="Got 'stop=2'"):
        embed_file("in.txt", "--option", "stop=1", "--option", "stop=2")
    with pytest.raises(InputError, match="It takes: model='lengths', modality='text'"):
        embed_file("in.txt", "--option", "unknown=1")
    with pytest.raises(UnknownNameError, match=r"lengths \(from embcompat-test-lengths\)"):
        run("embed", "in.txt", "--extractor", "nope", "--out", "out.parquet", "--overwrite")


def test_bad_items_end_the_run_or_are_skipped_and_listed(folder: Path) -> None:
    write(Path("in.jsonl"), [{"id": "a", "text": "one"}, {"id": "b", "text": ""}, {"id": "c"}])
    with pytest.raises(ExtractionError, match=r"item 'b' \(row 1\) cannot be embedded: there is nothing in it"):
        embed_file("in.jsonl")
    assert not Path("out.parquet").exists()
    output = run("embed", "in.jsonl", "--extractor", "lengths", "--out", "out.parquet", "--skip-errors").stdout
    assert "out.parquet: 1 vectors of 1 numbers in lengths@2" in output
    assert "Skipped 2:\n  b: there is nothing in it\n  c: there is nothing in it\n" in output
    Path("empty.txt").write_text("\n\n")
    with pytest.raises(ExtractionError, match="none of the 2 items could be embedded"):
        embed_file("empty.txt", "--skip-errors")


def test_a_long_list_of_skips_is_cut(folder: Path) -> None:
    Path("in.txt").write_text("one" + "\n" * 20 + "two")
    output = run("embed", "in.txt", "--extractor", "lengths", "--out", "out.parquet", "--skip-errors").stdout
    assert "Skipped 19:" in output
    assert "and 9 more; --json lists all" in output


def test_json_for_machines(folder: Path) -> None:
    Path("in.txt").write_text("one\n\nthree")
    output = run("embed", "in.txt", "--extractor", "lengths", "--out", "out.parquet", "--skip-errors", "--json").stdout
    result = json.loads(output)
    assert result.pop("seconds") > 0
    assert result == {
        "schema_version": 1,
        "out": "out.parquet",
        "count": 2,
        "dim": 1,
        "labels": False,
        "space": Embeddings.load("out.parquet").space.model_dump(),
        "skipped": [{"row": 1, "id": "1", "reason": "there is nothing in it"}],
        "notes": ["0 of 3 texts are long."],
    }
    assert (
        "0 of 3 texts are long." in run("embed", "in.txt", "-e", "lengths", "-o", "o.parquet", "--skip-errors").stderr
    )


def test_an_interrupted_run_keeps_what_was_there(folder: Path) -> None:
    Path("in.txt").write_text("one\ntwo\nthree\nfour\nfive five")
    original = embed_file("in.txt")
    # An interruption comes out as Abort, or as 130, by the version of click.
    result = CliRunner().invoke(
        app, ["embed", "in.txt", "--extractor", "lengths", "--out", "out.parquet", "--overwrite", "--option", "stop=9"]
    )
    assert result.exit_code != 0
    assert sorted(path.name for path in folder.iterdir()) == [".out.parquet.parts", "in.txt", "out.parquet"]
    np.testing.assert_array_equal(Embeddings.load("out.parquet").vectors, original.vectors)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("in.jsonl", '{"text": "a"}\n{"text": ', "in.jsonl: row 1 is not JSON"),
        ("in.jsonl", '{"text": "a"}\n["b"]\n', r"in.jsonl: row 1 must be a JSON object. Got \[\"b\"\]"),
        (
            "in.jsonl",
            '{"id": null, "text": "a"}',
            "in.jsonl: column 'id' must hold a string or an integer. Row 0 is None",
        ),
        ("in.jsonl", '{"id": 1.5, "text": "a"}', "Row 0 is 1.5"),
        (
            "in.jsonl",
            '{"id": "a", "title": "b", "body": "c"}',
            r"--text-column must name .* Got the columns id, title, body",
        ),
        ("in.csv", "id,text\na,b,c\n", "in.csv: row 0 must have 2 fields"),
        ("in.csv", "id,text\na\n", "in.csv: row 0 must have 2 fields"),
        ("in.csv", 'id,text\n"a,b\n', "in.csv is not CSV"),
        ("in.txt", b"\xff\xfe\x00", "in.txt must be UTF-8 text"),
        ("in.parquet", b"PAR1 no more", "in.parquet is not a complete Parquet file"),
    ],
)
def test_damaged_files_are_named_with_column_and_row(
    folder: Path, name: str, content: str | bytes, message: str
) -> None:
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(FileFormatError, match=message):
        embed_file(name)


def test_bad_arguments(folder: Path) -> None:
    Path("in.txt").write_text("one")
    Path("empty.jsonl").touch()
    Path("in.doc").touch()
    Path("none").mkdir()
    for path, message in (
        ("absent.txt", "absent.txt does not exist"),
        ("in.doc", "must be a .jsonl, .json, .csv, .tsv, .parquet or .txt file or a directory. Got '.doc'"),
        ("empty.jsonl", "must have a column 'text'"),
        ("none", "none holds nothing to embed"),
    ):
        with pytest.raises(InputError, match=message):
            embed_file(path)
    with pytest.raises(InputError, match="columns can be chosen in tables: .jsonl, .csv, .parquet"):
        embed_file("in.txt", "--id-column", "id")
    write(Path("in.jsonl"), [{"id": "a", "text": "one"}])
    with pytest.raises(FileFormatError, match=r"has no column 'body' \(--text-column\). It has id, text"):
        embed_file("in.jsonl", "--text-column", "body")
    with pytest.raises(InputError, match="--out must be a .parquet file. Got out.npy"):
        run("embed", "in.txt", "--extractor", "lengths", "--out", "out.npy")
    with pytest.raises(InputError, match="the folder of nowhere/out.parquet does not exist"):
        run("embed", "in.txt", "--extractor", "lengths", "--out", "nowhere/out.parquet")
    write(Path("twice.jsonl"), [{"id": "a", "text": "one"}, {"id": "a", "text": "two"}])
    with pytest.raises(InputError, match="ids must be unique. 'a' is in rows 0 and 1"):
        embed_file("twice.jsonl")


def test_extractors_are_listed(folder: Path) -> None:
    assert "embcompat-test-lengths" in run("extractors").stdout
    listed = json.loads(run("extractors", "--json").stdout)["extractors"]
    (lengths,) = [info for info in listed if info["name"] == "lengths"]
    assert lengths == {
        "name": "lengths",
        "distribution": "embcompat-test-lengths",
        "version": "1.0",
        "description": "Embeds a text, or the name of a file, as its length; refuses what is empty.",
    }


def test_no_extractor_installed_tells_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embcompat.plugins.entry_points", lambda **_: [])
    assert "pip install embcompat-text" in run("extractors").stdout


def test_pieces_stand_behind_their_texts_and_carry_their_label() -> None:
    texts = Items(["a b c d", "e"], ["x", "y"], None, "a file")
    cut = with_pieces(texts, 2)
    assert cut.items == ["a b c d", "e", "a b", "c d"]
    assert (cut.ids, cut.labels) == (["x", "y", "x#0", "x#1"], ["x", "y", "x", "x"])
    with pytest.raises(InputError, match="must have no labels of their own"):
        with_pieces(Items(["a b"], ["x"], ["l"], "a file"), 2)


@pytest.mark.parametrize("field", ["id", "label", "text"])
def test_a_field_that_the_first_row_lacks_is_not_passed_over(tmp_path: Path, field: str) -> None:
    rows = [{"body": "one"}, {"body": "two", field: "x"}]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(FileFormatError, match=f"row 1 has '{field}', which the first row lacks"):
        read_items(tmp_path / "x.jsonl", text_column="body")
