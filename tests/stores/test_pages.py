"""The how-to pages of the stores that run from a package: every block of a page, in the order of the page."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from embcompat.cli import app

PAGES = Path(__file__).parents[2] / "docs" / "how-to"
BLOCK = re.compile(r"^```(python|sh|sql)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def run_sql(names: dict[str, Any], block: str) -> None:
    """Run statements as the page's application would; one that uses DuckDB has closed its connection."""
    if "duckdb" not in names:
        names["database"].executescript(block)
        return
    with names["duckdb"].connect("notes.db") as database:
        database.execute(block)


@pytest.mark.parametrize("page", ["migrate-chroma", "migrate-milvus", "migrate-sqlite", "migrate-duckdb"])
def test_a_newcomer_can_follow_the_page_word_for_word(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    commands = []
    for language, block in BLOCK.findall((PAGES / f"{page}.md").read_text(encoding="utf-8")):
        if language == "python":
            exec(compile(block, page, "exec"), names)
            continue
        if language == "sql":
            run_sql(names, block)
            continue
        for line in block.splitlines():
            words = shlex.split(line)
            commands.append(words[2])
            result = CliRunner().invoke(app, words[1:])
            assert result.exit_code == 0, result.output
    assert commands == ["plan", "run", "verify", "cutover", "sweep", "rollback", "cutover", "drop-old"]
    if "database" in names:
        names["database"].close()
