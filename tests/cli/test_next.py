"""Each command prints the next one: whoever follows them gets from a gallery in use to a finished migration."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from embcompat.cli import app
from embcompat.cli.console import show_next, without_next
from embcompat.cli.evaluate import _show_next
from embcompat.embeddings import Embeddings
from embcompat.extractors import load_extractor
from embcompat.spaces import SpaceVersion
from embcompat.testing import make_pairs
from tests.test_docs import check_embcompat

TEXTS = [f"a {size} {colour} {thing}" for size in ("big", "small") for colour in "abcdefghij" for thing in "klmnopqrst"]


def next_of(text: str) -> list[list[str]]:
    """Return the commands of the last line that names some, as words without `embcompat`."""
    line = [line for line in text.splitlines() if line.startswith("Next: ")][-1]
    commands = [shlex.split(part)[1:] for part in line.removeprefix("Next: ").split(", or ")]
    for words in commands:
        check_embcompat(words)
    return commands


def follow(words: list[str], **blanks: str) -> list[list[str]]:
    """Run a command, its blanks filled in, and return the next ones."""
    result = CliRunner().invoke(app, [blanks.get(word, word) for word in words], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return next_of(result.stderr)


def test_the_line_is_followed_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = load_extractor("static64")
    vectors = model.extract(TEXTS)
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((64, 64)))[0]
    old = (vectors @ turn).astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(old.reshape(-1)), 64)
    table = pa.table({"id": [f"item-{row}" for row in range(len(TEXTS))], "vector": column, "text": TEXTS})
    pq.write_table(table, "gallery.parquet")
    space = SpaceVersion(name="old", version="1", dim=64, similarity="cosine")
    for name, rows, side in (("old-queries", old, space), ("new-queries", vectors, model.space)):
        queries = [f"q{row}" for row in range(0, len(TEXTS), 5)]
        Embeddings(rows[::5], queries, space=side).save(f"{name}.parquet")
    Path("qrels.tsv").write_text("".join(f"q{row} 0 item-{row} 1\n" for row in range(0, len(TEXTS), 5)))

    gallery = f"parquet://{tmp_path / 'gallery.parquet'}#vector"
    words = ["sample", gallery, "--text-column", "text", "--space", "old@1", "--out", "old.parquet"]
    (words,) = follow(words)
    assert words[0] == "embed"
    (words,) = follow(words, NAME="static64", **{"NEW.parquet": "new.parquet"})
    assert words[0] == "fit"
    (words,) = follow([*words, "--no-refit", "--kind", "procrustes"], **{"OLD.parquet": "old.parquet"})
    assert words[0] == "evaluate"
    files = {"OLD-QUERIES.parquet": "old-queries.parquet", "NEW-QUERIES.parquet": "new-queries.parquet"}
    result = CliRunner().invoke(app, [{**files, "QRELS.tsv": "qrels.tsv"}.get(word, word) for word in words])
    assert result.exit_code == 0, result.stderr
    words, commands = ["migrate", "plan", "old-to-new", gallery], []
    while words[1] != "drop-old":
        commands.append(words[1])
        (words,) = follow(words)
    assert commands == ["plan", "run", "verify", "cutover", "sweep"]
    end = CliRunner().invoke(app, words)
    assert "The migration is finished." in end.stdout
    assert pq.read_table("gallery.parquet").num_rows == len(TEXTS)


@pytest.mark.parametrize("refit", [False, True])
def test_faces_are_evaluated_on_people_who_were_not_fitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refit: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    pairs = make_pairs(480, source_dim=8, target_dim=8, noise=0.3, subjects=120, normalized=True).pairs
    others = np.isin(pairs.labels.astype(str), np.unique(pairs.labels.astype(str))[:40])
    for name, part in (("", pairs.select(~others)), ("other-", pairs.select(others))):
        part.source.save(f"{name}old.parquet")
        part.target.save(f"{name}new.parquet")
    words = ["fit", "old.parquet", "new.parquet", "--kind", "ridge", "--task", "verification", "--out", "faces"]
    (words,) = follow([*words, "--refit" if refit else "--no-refit"])
    blanks = {"OTHER-OLD.parquet": "other-old.parquet", "OTHER-NEW.parquet": "other-new.parquet"}
    assert (set(blanks) <= set(words)) == refit
    (words,) = follow(words, **blanks)
    assert words[0] == "thresholds"


@pytest.mark.parametrize(
    ("result", "verbs"),
    [
        ({"kind": "retrieval", "decision": "convert"}, ["migrate", "convert"]),
        ({"kind": "retrieval", "decision": "fused"}, ["migrate", "convert"]),
        ({"kind": "retrieval", "decision": "reindex"}, ["embed"]),
        ({"kind": "retrieval", "decision": "unjudged"}, ["queries"]),
        ({"kind": "verification", "decision": "convert"}, ["thresholds"]),
    ],
)
def test_a_verdict_leads_to_its_command(
    result: dict[str, Any], verbs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    galleries = ["--old-gallery", "old.npy", "--new-gallery", "new.npy", "--labels", "names.txt"]
    _show_next(Path("old-to-new"), galleries, result, weighs_queries=False)
    assert [words[0] for words in next_of(capsys.readouterr().err)] == verbs


@pytest.mark.parametrize("decision", ["stay", "swap"])
def test_nothing_follows_where_nothing_is_converted(decision: str, capsys: pytest.CaptureFixture[str]) -> None:
    _show_next(Path("old-to-new"), [], {"kind": "retrieval", "decision": decision}, weighs_queries=False)
    assert capsys.readouterr().err == ""


def test_a_command_inside_another_prints_nothing_and_a_password_is_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    with without_next():
        show_next("migrate", "run", "a", "b")
    assert capsys.readouterr().err == ""
    show_next("migrate", "run", "a", "postgresql://me:secret@db/shop#a.b")
    assert "secret" not in capsys.readouterr().err
