"""Results as the cells of a table."""

from __future__ import annotations

from typing import Any

HEAD = ["what", "against", "aim", "ratio", "noise", "time", "beside", "load"]
MOST_NOISE, MOST_LOAD = 1.0, 4.0


def noise(line: dict[str, Any]) -> float | None:
    """Return the larger spread of the two runs that a line compares, (slowest − fastest) / median."""
    times = line.get("times", {})
    spreads = [times[name]["spread"] for name in line.get("runs", times)]
    return max((spread for spread in spreads if spread is not None), default=None)


def cells(line: dict[str, Any], load: float | None) -> list[str]:
    """Write a line of results as the cells of a table."""
    spread = noise(line)
    ratio = f"{line['ratio']:,.2f}" if line["ratio"] < 100 else f"{line['ratio']:,.0f}"
    rough = "times" in line and (  # other work takes time, not memory
        (spread or 0) > MOST_NOISE or (load or 0) > MOST_LOAD
    )
    aim, missed = "–", False
    if line.get("aim_at_most") is not None:
        aim, missed = f"≤ {line['aim_at_most']:g}", line["ratio"] > line["aim_at_most"]
    if line.get("aim_at_least") is not None:
        aim, missed = f"≥ {line['aim_at_least']:g}", line["ratio"] < line["aim_at_least"]
    ratio = ("≈ " if rough else "") + ratio + (" (missed)" if missed else "")
    loads = "–" if load is None else f"{load:.1f}"
    return [
        line["what"],
        line["against"],
        aim,
        ratio,
        "–" if spread is None else f"{spread:.0%}",
        *absolute(line),
        loads,
    ]


def absolute(line: dict[str, Any]) -> list[str]:
    """Write what the two things that a line compares took: time, memory, or how many a second."""
    if "runs" in line:
        return [duration(line["times"][name]["seconds"]) for name in line["runs"]]
    if "peak_bytes" in line:
        return [size(count) for count in reversed(line["peak_bytes"])]
    if "rows_per_second" in line and "texts_per_second" in line:
        return [f"{line[f'{each}_per_second']:,.0f} {each}/s" for each in ("rows", "texts")]
    return ["–", "–"]


def table(rows: list[list[str]], head: list[str] | None = None) -> list[str]:
    """Write rows of cells as a table, after an empty line."""
    head = head or HEAD
    return ["", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(f"| {' | '.join(row)} |" for row in rows)]


def duration(seconds: float) -> str:
    """Write a time in the unit in which it is easy to read."""
    for most, factor, unit in ((1e-3, 1e6, "µs"), (1.0, 1e3, "ms"), (600.0, 1, "s"), (7_200.0, 1 / 60, "min")):
        if seconds < most:
            return f"{seconds * factor:,.{1 if seconds * factor < 100 else 0}f} {unit}"
    return f"{seconds / 3_600:,.1f} h"


def size(count: float) -> str:
    """Write bytes as MB or GB."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.0f} MB"


def machine_words(machine: dict[str, Any]) -> str:
    """Name the machine that results were measured on."""
    versions = ", ".join(f"{package} {version}" for package, version in machine["versions"].items())
    memory = f", {size(machine['memory_bytes'])} of memory" if machine.get("memory_bytes") else ""
    return f"{machine['processors']} × {machine['processor']}{memory}, Python {machine['python']}, {versions}"


def over(seconds: float, most: float) -> str:
    """Write a time, marked if it is above the aim."""
    return duration(seconds) + (" (missed)" if seconds > most else "")
