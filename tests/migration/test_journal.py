"""The journal: one line an event, read back as steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from embcompat.errors import MigrationError
from embcompat.migration import read_journal
from embcompat.migration.journal import Journal


def test_batches_that_follow_each_other_are_one_step(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.write("prepared", url="x")
    for rows in (3, 4, 5):
        journal.write("batch", rows=rows, failures=1)
    journal.write("index_built", seconds=1.0)
    journal.write("batch", rows=7, failures=0)
    steps = read_journal(path)
    assert [step["event"] for step in steps] == ["prepared", "batches", "index_built", "batches"]
    assert (steps[1]["batches"], steps[1]["rows"], steps[1]["failures"]) == (3, 12, 3)
    assert steps[1]["time"] <= steps[1]["until"] <= steps[2]["time"]


def test_half_a_line_of_a_killed_process_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path).write("prepared", url="x")
    with path.open("a") as stream:
        stream.write('{"time": 1, "eve')
    Journal(path).write("run_finished")
    steps = read_journal(path)
    assert [step["event"] for step in steps] == ["prepared", "unreadable", "run_finished"]
    assert steps[1]["line"] == 2


def test_a_journal_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(MigrationError, match=r"no journal at .*where migrate run was started"):
        read_journal(tmp_path / "none.jsonl")
