"""The examples run, offline and without a warning, and print what their comments promise."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
PRINTS = {
    "fit_and_serve.py": "mean cosine 0.99 on 400 held-out items",
    "lazy_backfill.py": "items embedded",
    "migrate_lancedb.py": "the new query of item-1234 finds item-1234",
    "query_bridge.py": "the item itself is among the ten best for 100% of the queries",
    "transfer_threshold.py": "converted against new: 0.45 becomes",
}


def test_every_example_is_listed() -> None:
    assert sorted(PRINTS) == sorted(path.name for path in EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("name", PRINTS)
def test_an_example_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len((EXAMPLES / name).read_text().splitlines()) < 60
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    assert PRINTS[name] in capsys.readouterr().out
