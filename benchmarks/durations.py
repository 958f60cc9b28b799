"""How long the tests take: all of them, and the slowest.

.venv/bin/python -m pytest -n 2 --dist loadfile -m "not soak" --junitxml tests.xml
python benchmarks/durations.py tests.xml --out benchmarks/results/durations.json
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from machine import describe, write_results

AIM_SECONDS, AIM_SECONDS_OF_A_TEST = 360.0, 20.0
SLOWEST = 5


def summarize(path: Path) -> dict[str, Any]:
    """Sum up a report of pytest in JUnit's format; a test's time includes its fixtures."""
    suite = next(ElementTree.parse(path).iter("testsuite"))
    cases = [
        (float(case.get("time", 0)), f"{case.get('classname')}.{case.get('name')}") for case in suite.iter("testcase")
    ]
    return {
        "tests": len(cases),
        "seconds": float(suite.get("time", 0)),
        "aim_seconds": AIM_SECONDS,
        "aim_seconds_of_a_test": AIM_SECONDS_OF_A_TEST,
        "slowest": [{"name": name, "seconds": seconds} for seconds, name in sorted(cases, reverse=True)[:SLOWEST]],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path, help="what pytest wrote with --junitxml")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    write_results({"machine": describe("pytest", "pytest-xdist"), **summarize(options.report)}, options.out)


if __name__ == "__main__":
    main()
