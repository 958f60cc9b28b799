from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner, Result

from embcompat.cli import app
from embcompat.errors import InputError
from embcompat.evaluation import read_qrels

DOCS = [
    {"id": "a", "title": "Wing flutter", "body": "On the flutter of wings."},
    {"id": "b", "title": "Drag", "body": "Drag: a force."},
    {"id": "c", "title": "", "body": "No title."},
    {"id": "d", "title": "wing  FLUTTER", "body": "Another one of the same title."},
]


def run(folder: Path, *words: str, docs: list[dict[str, str]] = DOCS) -> Result:
    (folder / "docs.jsonl").write_text("\n".join(json.dumps(each) for each in docs))
    columns = ["--query-column", "title", "--text-column", "body", "--out", str(folder / "out")]
    return CliRunner().invoke(app, ["queries", "known-item", str(folder / "docs.jsonl"), *columns, *words])


def test_each_title_asks_for_the_items_that_have_it(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.exit_code == 0
    assert "2 queries, a proxy for what people ask" in result.stdout
    assert "1 titles occur verbatim in the body" in result.stdout
    queries = [json.loads(line) for line in (tmp_path / "out" / "queries.jsonl").read_text().splitlines()]
    assert queries == [{"id": "q-a", "text": "Wing flutter"}, {"id": "q-b", "text": "Drag"}]
    assert read_qrels(tmp_path / "out" / "qrels.tsv").gains == {"q-a": {"a": 1.0, "d": 1.0}, "q-b": {"b": 1.0}}


def test_verbatim_titles_can_be_left_out_and_queries_drawn(tmp_path: Path) -> None:
    counts = json.loads(run(tmp_path, "--no-keep-verbatim", "--json").stdout)
    assert (counts["queries"], counts["verbatim"], counts["untitled"]) == (1, 1, 1)
    assert json.loads(run(tmp_path, "--limit", "1", "--json").stdout)["queries"] == 1
    assert isinstance(run(tmp_path, "--limit", "0").exception, InputError)


def test_without_titles_there_is_nothing_to_ask(tmp_path: Path) -> None:
    assert "no title can serve as a query" in str(run(tmp_path, docs=DOCS[2:3]).exception)
