"""The tables of README and docs are those of the recorded figures."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_tables_are_made_from_the_recorded_figures() -> None:
    spec = importlib.util.spec_from_file_location("readme_tables", ROOT / "recipes" / "readme_tables.py")
    assert spec is not None
    assert spec.loader is not None
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    assert tables.make_tables() in (ROOT / "README.md").read_text()
    assert tables.make_words_tables() in (ROOT / "docs" / "concepts" / "text-aware.md").read_text()
    assert tables.make_cost_table() in (ROOT / "docs" / "concepts" / "modes.md").read_text()
