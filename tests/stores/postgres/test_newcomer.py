"""From a table in PostgreSQL to a verdict, by the commands of the page as they stand there."""

from __future__ import annotations

import itertools
import json
import shlex
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg
import pytest
from typer.testing import CliRunner

from embcompat.cli import app
from embcompat.extractors import load_extractor

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "use-your-own-vectors.md"
PARTS = (
    ("red", "blue", "old", "small"),
    ("ceramic", "wooden", "steel", "woollen"),
    ("teapot", "chair", "lamp", "blanket", "bicycle"),
    ("for the garden", "for children", "made in Portugal", "with a leather strap"),
)


@pytest.fixture
def shop(postgres: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Make the table of a shop, where ``postgresql:///shop`` leads to it; return its texts."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE DATABASE shop")
        info = connection.info
        for name, value in (("PGHOST", info.host), ("PGPORT", info.port), ("PGUSER", info.user)):
            monkeypatch.setenv(name, str(value))
        if password := urlsplit(postgres).password:
            monkeypatch.setenv("PGPASSWORD", unquote(password))
    texts = [f"A {' '.join(words)}." for words in itertools.product(*PARTS)]
    vectors = load_extractor("static64").extract(texts)
    with psycopg.connect("postgresql:///shop", autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
        connection.execute("CREATE TABLE items (sku bigint PRIMARY KEY, body text, embedding vector(64))")
        rows = [(1000 + row, text, str(vectors[row].tolist())) for row, text in enumerate(texts)]
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO items VALUES (%s, %s, %s)", rows)
    return texts


def test_a_table_reaches_a_verdict_as_the_page_says(
    shop: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = range(0, len(shop), 8)
    queries = [{"id": f"q{row}", "text": " ".join(shop[row].strip("A .").split()[1:4])} for row in asked]
    Path("queries.jsonl").write_text("".join(json.dumps(query) + "\n" for query in queries))
    Path("qrels.tsv").write_text("".join(f"q{row} 0 {1000 + row} 1\n" for row in asked))
    block = PAGE.read_text(encoding="utf-8").partition("From a table in PostgreSQL")[2].partition("```sh\n")[2]
    for line in block.partition("```")[0].splitlines():
        result = CliRunner().invoke(app, shlex.split(line)[1:], standalone_mode=False)
        if result.exception is not None:
            raise result.exception
    assert result.stdout.count("done   embcompat") == 7
    verdict = json.loads(Path("upgrade/evaluation.json").read_text())
    assert (verdict["relevance"], verdict["queries"]) == ("qrels", len(queries))
    assert verdict["decision"] != "unjudged"
