"""Results in the terminal: tables that fit 80 columns, plain where the output is piped."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import wrap
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from embcompat.report.headline import make_tiles, make_verdict
from embcompat.report.sections import describe_changes, make_notes
from embcompat.report.tables import (
    Rows,
    describe_texts,
    tabulate_backfill,
    tabulate_budget,
    tabulate_hybrid,
    tabulate_learning,
    tabulate_lines,
    tabulate_texts,
)
from embcompat.report.verification import tabulate_groups, tabulate_scenarios
from embcompat.report.wording import FIDELITY
from embcompat.results import Check, LearningCurve, ResultFile, RetrievalReport, VerificationReport, parse_result


def show_result(result: ResultFile | Mapping[str, Any], console: Console) -> None:
    """Print a result: what to know first, then the figures, and at the end what to do and why.

    Args:
        result: What was measured; a JSON object as `embcompat.results.files` describes it.
        console: Where to print.

    Raises:
        InputError: If the result is not what its kind must be.
    """
    checked = result if isinstance(result, ResultFile) else parse_result(result)
    for note in make_notes(checked):
        console.print(Text(note, style="yellow"))
    console.print(_table(_figures(checked)))
    for sentence in _legend(checked):
        console.print(Text(f" {sentence}", style="dim"))
    if isinstance(checked.measured, VerificationReport) and checked.measured.groups:
        console.print(_table(_columns(tabulate_groups(checked.measured.groups), (0, 1, 2, 3, 5))))
    if checked.budget:
        rows = tabulate_budget(checked.budget)
        console.print(_table(_columns(rows, (0, 1, len(rows.header) - 1))))
    if checked.hybrid:
        console.print(_table(_columns(tabulate_hybrid(checked.hybrid), (0, 1, 2, 3))))
    if checked.texts:
        console.print(_table(tabulate_texts(checked.texts)))
        console.print(Text(f" {describe_texts(checked.texts)}", style="dim"))
    headline = Table.grid(padding=(0, 2))
    for tile in make_tiles(checked):
        headline.add_row(Text(f" {tile.name}"), Text(tile.value, style="bold"), Text(tile.detail, style="dim"))
    console.print(headline)
    changes = checked.measured.changes if isinstance(checked.measured, RetrievalReport) else None
    if changes is not None:
        console.print(Text(f" {describe_changes(changes)}", style="dim"))
    for check in checked.checks:
        console.print(_check(check))
    verdict = make_verdict(checked)
    if verdict is not None:
        console.print()
        if verdict.decision:
            console.print(Text(verdict.decision, style="bold green" if verdict.tone == "go" else "bold yellow"))
        console.print(Text(" ".join(part for part in (verdict.reason, verdict.needs) if part)))
        for sentence in verdict.because:
            console.print(_bullet(sentence))


def _figures(result: ResultFile) -> Rows:
    """Return the columns of a result's main table for which a terminal has room."""
    measured = result.measured
    if isinstance(measured, RetrievalReport):
        return _columns(tabulate_lines(measured, fidelity=result.relevance == FIDELITY), (0, 2, 3, 4))
    if isinstance(measured, VerificationReport):
        return _columns(tabulate_scenarios(measured), (0, 1, 2, 3, 4))
    if isinstance(measured, LearningCurve):
        return tabulate_learning(measured)
    return tabulate_backfill(measured, intervals=False)


def _legend(result: ResultFile) -> list[str]:
    """Return what the names in a result's main table mean."""
    measured = result.measured
    if isinstance(measured, VerificationReport):
        return [
            "S1 to S4: false rejects and accepts at the threshold of two new vectors.",
            "Own threshold: the one at which the scenario itself has the status quo's share of false rejects.",
        ]
    if not isinstance(measured, RetrievalReport):
        return []
    lines = measured.lines
    sentences = ["Naive swap: new queries in the old gallery."] if "naive_swap" in lines else []
    sentences += ["Fused: the scores of the old and of the new model added."] if "fused" in lines else []
    if measured.unfitted:
        sentences.append("As served: the fitted items have new vectors. Alone, same items: without the fitted items.")
    return sentences


def _check(check: Check) -> Table:
    """Return a condition, whether it holds, and the figure that says so."""
    grid = Table.grid(padding=(0, 1))
    state = Text(" passed", style="green") if check.passed else Text(" failed", style="yellow")
    grid.add_row(state, Text.assemble(check.name, (f": {check.detail}" if check.detail else "", "dim")))
    return grid


def _bullet(sentence: str) -> Table:
    """Return a sentence behind a dash, its further lines indented."""
    grid = Table.grid(padding=(0, 1))
    grid.add_row(Text(" –"), Text(sentence))
    return grid


def _columns(rows: Rows, numbers: tuple[int, ...]) -> Rows:
    return Rows(
        tuple(rows.header[column] for column in numbers),
        tuple(tuple(cells[column] for column in numbers) for cells in rows.cells),
    )


def _table(rows: Rows) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=True, header_style="bold")
    for number, name in enumerate(rows.header):
        column = [cells[number] for cells in rows.cells]
        figures = number > 0 and any(character.isdigit() for cell in column for character in cell)
        lines = wrap(name, max(map(len, column), default=len(name)), break_long_words=False)
        table.add_column("\n".join(lines), justify="right" if figures else "left")
    for cells in rows.cells:
        table.add_row(*(Text(cell) for cell in cells))
    return table
