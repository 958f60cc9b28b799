"""Every benchmark, one after the other, and the page of the docs that shows their results.

    python benchmarks/suite.py            # reduced sizes, about ten minutes on two cores; prints, and records nothing
    python benchmarks/suite.py --full     # the sizes of the docs' table, two hours or more
    python benchmarks/suite.py --only-page

Each benchmark runs in a process of its own and takes its ratios within one run. --full and --only record their results
and write the page. What was measured before stays until its benchmark is run again, so that single ones can be run
again on a quiet machine, at any size, and in parts: --add keeps what other arguments gave.

    python benchmarks/suite.py --only conversion --sizes "--parts affine --rows 1000000"
    python benchmarks/suite.py --only conversion --sizes "--parts networks --rows 200000" --add
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from page import PAGE, RESULTS, make_page
from tables import cells, duration

HERE = Path(__file__).resolve().parent

REDUCED: dict[str, list[str]] = {
    "startup": ["--repeats", "9"],
    "serving": ["--texts", "64"],
    "gateway": ["--repeats", "5", "--seconds", "12"],
    "texts": ["--texts", "2000"],
    "conversion": ["--rows", "200000", "--repeats", "3"],
    "fit_streaming": ["--rows", "400000", "--repeats", "2"],
    "doctor": ["--rows", "300000", "--repeats", "3"],
    "selection": ["--pairs", "10000"],
    "fit_verification": ["--pairs", "2000", "--repeats", "1"],
    "training": ["--rows", "60000"],
    "verification": ["--subjects", "8000", "--repeats", "3"],
    "all_images": ["--repeats", "2"],
    "retrieval": ["--rows", "100000", "--queries", "1024"],
}
FULL: dict[str, list[str]] = {
    "startup": [],
    "serving": ["--texts", "512", "--repeats", "5"],
    "gateway": [],
    "texts": ["--texts", "8000"],
    "conversion": ["--rows", "5000000", "--memory-rows", "1000000", "20000000", "--repeats", "3"],
    "fit_streaming": ["--rows", "5000000", "--repeats", "3"],
    "doctor": ["--rows", "1000000"],
    "selection": ["--pairs", "10000", "100000", "1000000"],
    "fit_verification": [],
    "training": ["--rows", "1000000", "--repeats", "3"],
    "verification": ["--growth", "25000", "50000", "100000", "--repeats", "3"],
    "all_images": [],
    "retrieval": ["--rows", "1000000", "--queries", "10000", "--repeats", "3"],
}


def run(name: str, arguments: list[str]) -> dict[str, Any]:
    """Run one benchmark and return its results with the time that it took."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result.json"
        command = [sys.executable, str(HERE / f"{name}.py"), *arguments, "--out", str(out)]
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        result: dict[str, Any] = json.loads(out.read_text())
    result |= {"arguments": arguments, "seconds": time.perf_counter() - start}
    for line in result["lines"]:
        print(*cells(line, result["machine"]["load_average"][0]), sep=" | ", flush=True)
    return result


def record(name: str, result: dict[str, Any], *, add: bool) -> None:
    """Write results beside those of the other benchmarks; with `add`, also beside those of other arguments."""
    path = RESULTS / "speed.json"
    results: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    others = [each for each in results.get(name, []) if add and each["arguments"] != result["arguments"]]
    results[name] = [*others, result]
    path.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the sizes of the docs' table")
    parser.add_argument("--smoke", action="store_true", help="sizes that only show that it runs; records nothing")
    parser.add_argument("--only", nargs="+", choices=sorted(FULL), help="which benchmarks to run and record")
    parser.add_argument("--sizes", help="arguments for the one benchmark of --only, instead of the suite's")
    parser.add_argument("--add", action="store_true", help="keep what this benchmark gave with other arguments")
    parser.add_argument("--only-page", action="store_true", help="write the page from the results, measure nothing")
    options = parser.parse_args()
    if options.sizes is not None and len(options.only or ()) != 1:
        parser.error("--sizes needs --only with one benchmark")
    sizes = FULL if options.full else REDUCED
    names = [] if options.only_page else options.only or list(sizes)
    recorded = not options.smoke and bool(options.full or options.only)
    seconds: dict[str, float] = {}
    for number, name in enumerate(names, 1):
        arguments = sizes[name] if options.sizes is None else options.sizes.split()
        arguments = ["--smoke"] if options.smoke else arguments
        print(f"== {number} of {len(names)}, after {sum(seconds.values()):.0f} s:", name, *arguments, flush=True)
        result = run(name, arguments)
        seconds[name] = result["seconds"]
        if recorded:
            record(name, result, add=options.add)
    for name, each in seconds.items():
        print(f"{name:16}{duration(each):>10}")
    if seconds:
        print(f"{'together':16}{duration(sum(seconds.values())):>10}")
    if recorded or options.only_page:
        PAGE.write_text(make_page())


if __name__ == "__main__":
    main()
