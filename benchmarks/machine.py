"""What a benchmark ran on, and how its times are taken."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any


def describe(*packages: str) -> dict[str, Any]:
    """Return the processor, memory, system and package versions."""
    names = [line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = [int(line.split()[1]) * 1024 for line in _lines("/proc/meminfo") if line.startswith("MemTotal")]
    return {
        "processor": names[0] if names else platform.processor(),
        "processors": os.cpu_count(),
        "memory_bytes": memory[0] if memory else None,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "load_average": list(os.getloadavg()),
        "versions": {name: version(name) for name in ("numpy", *packages)},
    }


def alternate(
    runs: dict[str, Callable[[], object]], *, repeats: int, prepare: Callable[[], object] = lambda: None
) -> dict[str, list[float]]:
    """Time several runs in turn, ``repeats`` times round, so that a slow moment of the machine hits all of them.

    `prepare` runs before each run, for example to remove what the last one wrote; its time is not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            prepare()
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def summary(seconds: dict[str, list[float]]) -> dict[str, dict[str, float | None]]:
    """Return the median of each run, and its spread: (slowest − fastest) / median, None where it ran once."""
    return {name: {"seconds": statistics.median(values), "spread": _spread(values)} for name, values in seconds.items()}


def median_ratio(seconds: dict[str, list[float]], name: str, against: str) -> float:
    """Return the median over the rounds of one run's time as a multiple of another's."""
    return statistics.median(
        numerator / denominator for numerator, denominator in zip(seconds[name], seconds[against], strict=True)
    )


def line_at_most(
    what: str, against: str, ratio: float, aim: float | None, seconds: dict[str, list[float]], **more: Any
) -> dict[str, Any]:
    """Return a line of results: a ratio of times, of which less is better.

    `runs` among ``more`` names the two of ``seconds`` that the ratio compares.
    """
    return {"what": what, "against": against, "ratio": ratio, "aim_at_most": aim, "times": summary(seconds), **more}


def line_at_least(
    what: str, against: str, ratio: float, aim: float | None, seconds: dict[str, list[float]], **more: Any
) -> dict[str, Any]:
    """Return a line of results: a ratio of rates, of which more is better; `runs` as in `line_at_most`."""
    return {"what": what, "against": against, "ratio": ratio, "aim_at_least": aim, "times": summary(seconds), **more}


def write_results(results: dict[str, Any], path: Path | None) -> None:
    """Print the results as JSON, and write them to a file if one is given: entirely, or not at all if killed."""
    text = json.dumps(results, indent=2) + "\n"
    print(text, end="")
    if path is not None:
        partial = path.with_name(f".{path.name}.part")
        partial.write_text(text)
        partial.replace(path)


def _spread(values: list[float]) -> float | None:
    return (max(values) - min(values)) / statistics.median(values) if len(values) > 1 else None


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []
