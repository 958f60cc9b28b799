"""Every benchmark, one after the other, and the page of the docs that shows their results.

    python benchmarks/suite.py            # reduced sizes, about ten minutes on two cores
    python benchmarks/suite.py --full     # the sizes of the docs' table, two hours or more
    python benchmarks/suite.py --only-page

Each benchmark runs in a process of its own and takes its ratios within one run. What was measured before stays until
its benchmark is run again, so that single ones can be run again on a quiet machine, at any size, and in parts: --add
keeps what other arguments gave.

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

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "speed.json"
OTHERS = HERE / "results" / "other_packages.json"
STORES = HERE / "results" / "stores.json"
STEPS = HERE / "results" / "migration_steps.json"
PAGE = HERE.parent / "docs" / "concepts" / "speed.md"

NOT_MEASURED = {
    "kernel graph, 2,500 landmarks, 384 → 384": "a kernel's graph beside its products (`benchmarks/conversion.py`);",
    "merge of a fused search, µs a query": "the merge of a fused search (`benchmarks/serving.py`);",
    "the help of a typer command": "the startup of the command line now that it builds only the command that is named.",
}
"""Lines that are newer than the results, and what they measure."""

NOTES = {
    "conversion": [
        "",
        "A kernel's graph spends nearly all of its time in its products. With the same landmarks it becomes much",
        "faster only in 8 bits (`embcompat fit --quantize int8`); the artifact records what that costs.",
    ]
}
"""What to know about the lines of a benchmark."""

REDUCED: dict[str, list[str]] = {
    "startup": ["--repeats", "9"],
    "serving": [],
    "gateway": ["--repeats", "5", "--seconds", "12"],
    "texts": ["--texts", "2000"],
    "conversion": ["--rows", "200000"],
    "fit_streaming": ["--rows", "400000", "--repeats", "2"],
    "doctor": ["--rows", "300000", "--repeats", "3"],
    "selection": ["--pairs", "10000", "50000"],
    "training": ["--rows", "60000"],
    "verification": ["--subjects", "8000", "--repeats", "3"],
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
    "training": ["--rows", "1000000", "--repeats", "3"],
    "verification": ["--growth", "25000", "50000", "100000", "--repeats", "3"],
    "retrieval": ["--rows", "1000000", "--queries", "10000", "--repeats", "3"],
}


def run(name: str, arguments: list[str]) -> dict[str, Any]:
    """Run one benchmark and return its results with the time that it took."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result.json"
        command = [sys.executable, str(HERE / f"{name}.py"), *arguments, "--out", str(out)]
        print("==", name, *arguments, flush=True)
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        result: dict[str, Any] = json.loads(out.read_text())
    result |= {"arguments": arguments, "seconds": time.perf_counter() - start}
    for line in result["lines"]:
        print(*cells(line), sep=" | ", flush=True)
    return result


def noise(line: dict[str, Any]) -> float | None:
    """Return the largest spread among the times of a line, (slowest − fastest) / median."""
    spreads = [times["spread"] for times in line.get("times", {}).values()]
    return max((spread for spread in spreads if spread is not None), default=None)


def cells(line: dict[str, Any]) -> list[str]:
    """Write a line of results as the cells of a table."""
    ratio, spread = f"{line['ratio']:,.2f}" if line["ratio"] < 100 else f"{line['ratio']:,.0f}", noise(line)
    aims = {"≤": line.get("aim_at_most"), "≥": line.get("aim_at_least")}
    aim = next((f"{sign} {value:g}" for sign, value in aims.items() if value is not None), "–")
    met = {"≤": lambda value: line["ratio"] <= value, "≥": lambda value: line["ratio"] >= value}
    missed = any(value is not None and not met[sign](value) for sign, value in aims.items())
    ratio = f"{ratio} (missed)" if missed else ratio
    return [line["what"], line["against"], aim, ratio, "–" if spread is None else f"{spread:.0%}"]


def make_page(results: dict[str, Any]) -> str:
    """Return the page of the docs."""
    text = [
        "# Speed",
        "",
        "Every figure is a ratio between two things that one run measured in turn on one machine, because seconds of",
        "a shared machine say little. The aim stands beside it, and a missed aim is marked. *Noise* is the largest",
        "spread of one of the times of that line: (slowest − fastest) / median; – stands for a single measurement.",
        "",
        "`make bench` measures all of it at reduced sizes in about ten minutes and writes this page; `make bench-full`",
        "takes the sizes of the table. The results with every time are in `benchmarks/results/speed.json`.",
        "",
        "Two more benchmarks are run separately: `benchmarks/scale.py` converts many millions of rows by shards on two",
        "processes, kills one of them midway and compares samples of the result with the aligner; `benchmarks/gpu.py`",
        "measures training and conversion on a GPU within eight minutes.",
    ]
    measured = {line["what"] for runs in results.values() for result in runs for line in result["lines"]}
    missing = [figure for what, figure in NOT_MEASURED.items() if what not in measured]
    if missing:
        text += ["", "Not measured on quiet cores yet:", "", *(f"* {each}" for each in missing)]
    for name in FULL:
        if name in results:
            text += ["", f"## {name.replace('_', ' ').capitalize()}", *NOTES.get(name, [])]
        for result in results.get(name, []):
            text += table(name, result)
    text += stores(json.loads(STORES.read_text()))
    text += steps(json.loads(STEPS.read_text())) if STEPS.exists() else []
    return "\n".join([*text, *other_packages(json.loads(OTHERS.read_text()))]) + "\n"


def table(name: str, result: dict[str, Any]) -> list[str]:
    """Write what one run of a benchmark gave, and on what."""
    machine = result["machine"]
    versions = ", ".join(f"{package} {version}" for package, version in machine["versions"].items())
    command = " ".join(["benchmarks/" + name + ".py", *result["arguments"]])
    return [
        "",
        "| what | against | aim | ratio | noise |",
        "|---|---|---|---|---|",
        *("| " + " | ".join(cells(line)) + " |" for line in result["lines"]),
        "",
        f"`{command}` on {machine['processors']} × {machine['processor']}, Python {machine['python']}, {versions}.",
    ]


def stores(result: dict[str, Any]) -> list[str]:
    """Write the ratios of live galleries, each with the load of the machine when it was measured."""
    lines = [line for line in result["lines"] if "ratio" in line]
    loads = [f"{line['load_average']:.1f}" if "load_average" in line else "–" for line in lines]
    return [
        "",
        "## Stores",
        "",
        "The ratio compares a whole migration (run, comparison, verification, cutover) with reading and writing every",
        "row, without conversion, through the store's bare client. *Load* is the machine's load average at the time:",
        "where it is above 2, other work used the two cores as well.",
        "",
        "Most stores miss their aim, because a migration must do what a copy need not do. In PostgreSQL every row is",
        "read a second time before the cutover, to compare its digest, and both tables are counted and compared.",
        "FAISS and `.npy` first write the converted vectors to a file from which a killed run resumes, and read the",
        "new index back. LanceDB reads the vectors of the whole table each time it counts rows without one.",
        "sqlite-vec, Chroma and Milvus Lite look every record up several times by its id, and Chroma's metadata,",
        "where the provenance is, costs it a third of a write. DuckDB makes the table again at the cutover: three",
        "copies are written where the comparison writes one.",
        "",
        "| what | against | aim | ratio | noise | load |",
        "|---|---|---|---|---|---|",
        *(f"| {' | '.join(cells(line))} | {load} |" for line, load in zip(lines, loads, strict=True)),
        "",
        "`benchmarks/stores.py` shows how.",
    ]


def steps(result: dict[str, Any]) -> list[str]:
    """Write what the steps of a large migration took, and what a lazy backfill adds to a search of the gallery."""
    machine, timed = result["machine"], [line for line in result["lines"] if "step_seconds" in line]
    names = list(dict.fromkeys(name for line in timed for name in line["step_seconds"]))
    lazy = [line for line in result["lines"] if "ratio" in line]
    return [
        "",
        "## A migration step by step",
        "",
        "Seconds of each step of a live gallery with an index. The run builds the index of the new vectors; a lazy",
        "search reads its candidates' vectors once more.",
        "",
        f"| what | {' | '.join(names)} | load |",
        f"|{'---|' * (len(names) + 2)}",
        *(
            f"| {line['what']} | {' | '.join(seconds(line, name) for name in names)} | {line['load_average']:.1f} |"
            for line in timed
        ),
        "",
        "| what | against | aim | ratio | noise | load |",
        "|---|---|---|---|---|---|",
        *(f"| {' | '.join(cells(line))} | {line['load_average']:.1f} |" for line in lazy),
        "",
        f"`benchmarks/migration_steps.py` shows how; on {machine['processors']} × {machine['processor']}.",
    ]


def seconds(line: dict[str, Any], name: str) -> str:
    """Write the seconds of a step, or – where there was none."""
    return f"{line['step_seconds'][name]:,.1f}" if name in line["step_seconds"] else "–"


def other_packages(result: dict[str, Any]) -> list[str]:
    """Write the lines of the side-by-side comparison."""
    text = [
        "",
        "## Beside other packages",
        "",
        "All packages get the same pairs and held-out queries. Each is used as its documentation shows, with its",
        "defaults; `benchmarks/other_packages.py` shows how. Retention is nDCG@10 as a share of a full reindex, with a",
        "95 % interval. Cranfield has 400 pairs for vectors of 384 numbers, where least squares without a penalty",
        "breaks down; NPL has 4,000. The column *stay* shows what a search with the old model keeps.",
        "",
        "| upgrade | package | fit | vectors a second | retention | stay |",
        "|---|---|---|---|---|---|",
    ]
    for upgrade, rows in result["upgrades"].items():
        for row in rows:
            if "refused" in row:
                text.append(f"| {upgrade} | {row['package']} | refused: {row['refused']} | – | – | – |")
                continue
            low, high = row["retention_interval"]
            text.append(
                f"| {upgrade} | {row['package']} | {row['fit_seconds']:.2f} s | {row['vectors_per_second']:,.0f} | "
                f"{row['retention']:.2f} ({low:.2f} to {high:.2f}) | {row['status_quo'] / row['full_reindex']:.2f} |"
            )
    versions = ", ".join(f"{name} {version}" for name, version in result["packages"].items())
    return [*text, "", f"Measured with {versions}, on a machine with other work: the times are rough."]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the sizes of the docs' table")
    parser.add_argument("--smoke", action="store_true", help="sizes that only show that it runs; writes nothing")
    parser.add_argument("--only", nargs="+", choices=sorted(FULL), help="which benchmarks to run")
    parser.add_argument("--sizes", help="arguments for the one benchmark of --only, instead of the suite's")
    parser.add_argument("--add", action="store_true", help="keep what this benchmark gave with other arguments")
    parser.add_argument("--only-page", action="store_true", help="write the page from the results, measure nothing")
    options = parser.parse_args()
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    sizes = FULL if options.full else REDUCED
    for name in [] if options.only_page else options.only or sizes:
        arguments = sizes[name] if options.sizes is None else options.sizes.split()
        latest = run(name, ["--smoke"] if options.smoke else arguments)
        if not options.smoke:
            recorded = [result for result in results.get(name, []) if options.add and result["arguments"] != arguments]
            results[name] = [*recorded, latest]
            RESULTS.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    if not options.smoke:
        PAGE.write_text(make_page(results))


if __name__ == "__main__":
    main()
