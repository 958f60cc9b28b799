"""From a table in PostgreSQL to a verdict, and from a LangChain collection to the new model, by the docs' commands."""

from __future__ import annotations

import itertools
import json
import re
import shlex
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import psycopg
import pytest
import sqlalchemy
from langchain_core.embeddings import Embeddings
from langchain_postgres import PGVector
from psycopg import sql
from typer.testing import CliRunner

from embcompat.artifact import read_artifact
from embcompat.cli import app
from embcompat.extractors import load_extractor

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "use-your-own-vectors.md"
PARTS = (
    ("red", "blue", "old", "small"),
    ("ceramic", "wooden", "steel", "woollen"),
    ("teapot", "chair", "lamp", "blanket", "bicycle"),
    ("for the garden", "for children", "made in Portugal", "with a leather strap"),
)


TEXTS = [f"A {' '.join(words)}." for words in itertools.product(*PARTS)]


def make_database(name: str, postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a database, to which ``postgresql:///name`` leads."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        info = connection.info
        for name, value in (("PGHOST", info.host), ("PGPORT", info.port), ("PGUSER", info.user)):
            monkeypatch.setenv(name, str(value))
        if password := urlsplit(postgres).password:
            monkeypatch.setenv("PGPASSWORD", unquote(password))


def run(*words: str) -> None:
    """Run a command of embcompat."""
    result = CliRunner().invoke(app, list(words), standalone_mode=False)
    if result.exception is not None:
        raise result.exception


@pytest.fixture
def shop(postgres: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Make the table of a shop; return its texts."""
    make_database("shop", postgres, monkeypatch)
    texts = TEXTS[::2]
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
    query_rows = range(0, len(shop), 4)
    queries = [{"id": f"q{row}", "text": " ".join(shop[row].strip("A .").split()[1:4])} for row in query_rows]
    Path("queries.jsonl").write_text("".join(json.dumps(query) + "\n" for query in queries))
    Path("qrels.tsv").write_text("".join(f"q{row} 0 {1000 + row} 1\n" for row in query_rows))
    block = PAGE.read_text(encoding="utf-8").partition("From a table in PostgreSQL")[2].partition("```sh\n")[2]
    for line in block.partition("```")[0].splitlines():
        result = CliRunner().invoke(app, shlex.split(line)[1:], standalone_mode=False)
        if result.exception is not None:
            raise result.exception
    assert result.stdout.count("done   embcompat") == 7
    verdict = json.loads(Path("upgrade/evaluation.json").read_text())
    assert (verdict["relevance"], verdict["queries"]) == ("qrels", len(queries))
    assert verdict["decision"] != "unjudged"


class Model(Embeddings):
    """The application's model: static64, and before the upgrade the same with every vector turned."""

    def __init__(self, *, old: bool) -> None:
        self.extractor = load_extractor("static64")
        self.turn = np.linalg.qr(np.random.default_rng(0).standard_normal((64, 64)))[0] if old else np.eye(64)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[float(number) for number in row] for row in self.extractor.extract(texts) @ self.turn]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


def test_a_langchain_collection_reaches_the_new_model(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_database("app", postgres, monkeypatch)
    monkeypatch.chdir(tmp_path)

    def open_collection(*, old: bool, declares: str = "") -> PGVector:
        options = {"connect_args": {"options": f"-c embcompat.space={declares}"}} if declares else {}
        return PGVector(
            embeddings=Model(old=old),
            collection_name="manual",
            connection="postgresql+psycopg:///app",
            use_jsonb=True,
            engine_args={"poolclass": sqlalchemy.NullPool, **options},
        )

    texts = TEXTS[::2]
    collection = open_collection(old=True)
    collection.add_texts(texts, ids=[f"text-{row}" for row in range(len(texts))])
    questions = texts[::40]
    assert [collection.similarity_search(text, k=1)[0].page_content for text in questions] == questions

    gallery = "postgresql:///app#langchain_pg_embedding.embedding"
    page = PAGE.read_text(encoding="utf-8")
    (sample,) = re.findall(r"^\| a LangChain collection in PostgreSQL \| `embcompat (.+?)` \|$", page, re.MULTILINE)
    run(*shlex.split(sample))
    run("embed", "old.parquet", "--extractor", "static64", "--text-column", "text", "--out", "new.parquet")
    run("fit", "old.parquet", "new.parquet", "--kind", "procrustes", "--no-refit", "--out", "old-to-new")
    for verb in ("plan", "run", "verify", "cutover"):
        run("migrate", verb, "old-to-new", gallery)

    space = read_artifact(Path("old-to-new")).target.id
    after = open_collection(old=False, declares=space)
    assert [after.similarity_search(text, k=1)[0].page_content for text in questions] == questions
    with pytest.raises(sqlalchemy.exc.IntegrityError, match=f"connect with options=-c embcompat.space={space}"):
        collection.add_texts(["A green wooden chair for children."], ids=["late"])
    after.add_texts(["A green wooden lamp for children."], ids=["late"])
    assert (
        after.similarity_search("A green wooden lamp for children.", k=1)[0].page_content
        == "A green wooden lamp for children."
    )
    run("migrate", "sweep", "old-to-new", gallery)
    run("migrate", "drop-old", "old-to-new", gallery, "--yes")
