"""The page of the docs that shows what the benchmarks measured: a section for each file of results that there is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import sections
from tables import cells, machine_words, table

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
PAGE = HERE.parent / "docs" / "concepts" / "speed.md"

SUITE = {
    "startup": "Startup",
    "serving": "Serving",
    "gateway": "Gateway",
    "texts": "Texts",
    "conversion": "Conversion",
    "fit_streaming": "Streaming fit",
    "selection": "Choosing an aligner",
    "doctor": "Doctor",
    "fit_verification": "Choosing an aligner for verification",
    "training": "Training",
    "verification": "Verification",
    "all_images": "Verification of all images",
    "retrieval": "Retrieval",
}
"""The benchmarks of the suite, whose results are in speed.json, and their headings."""

SECTIONS = {
    "stores": ("benchmarks/stores.py", sections.stores_section),
    "migration_steps": ("benchmarks/migration_steps.py", sections.migration_section),
    "scale": ("benchmarks/scale.py", sections.scale_section),
    "gpu": ("benchmarks/gpu.py", sections.gpu_section),
    "lazy": ("benchmarks/lazy.py", sections.lazy_section),
    "verdicts": ("benchmarks/verdicts.py", sections.verdicts_section),
    "durations": ("benchmarks/durations.py", sections.tests_section),
    "other_packages": ("benchmarks/other_packages.py", sections.packages_section),
}
"""The files of results that have a section of their own, with the script that writes each."""

NEWER_LINES = {
    "serving": "merge of a fused search, µs a query",
    "conversion": "kernel graph, 2,500 landmarks, 384 → 384",
}
"""Lines that a benchmark got after its results were recorded."""

NOTES = {
    "conversion": [
        "",
        "A kernel's graph spends nearly all of its time in its products. With the same landmarks only 8 bits make it",
        "faster (`embcompat fit --quantize int8`); the artifact records what that costs.",
    ],
    "fit_verification": [
        "",
        "Candidates are fitted several times, each time without a part of the people. Where an ensemble wins, its fit",
        "by name needs the same networks; where a kernel wins, `auto` has trained them in vain, and all the more so",
        "the fewer pairs there are.",
    ],
}
"""What to know about the lines of a benchmark."""

INTRODUCTION = """# Speed and scale

Every *ratio* compares two things that one run measured in turn on one machine, because seconds of a shared machine
say little. The aim stands beside it, and a missed aim is marked. *Time* and *beside* are the medians of the two on the
machine named below the table (or their peak memory, where the line says so): use them for planning.

**Which lines to trust.** *Noise* is (slowest − fastest) / median of the two things compared, the larger of the two; –
stands for a single measurement. *Load* is the machine's load average at the end of the run. Its two cores are fully
used at 2, and a benchmark with processes of its own exceeds that; above 4, other work took its time. **≈ marks a ratio
that was measured at a load above 4, or with noise above 100 %: take its order of magnitude, not its digits.** All
other ratios were repeatable to within their noise, where they have one.

`make bench` prints the first part of this page, measured on your machine at reduced sizes in about ten minutes;
`make bench-full` takes the sizes shown here and writes the page. Each later section names its command. After one of
those, `python benchmarks/suite.py --only-page` writes the page. The results are in `benchmarks/results/`."""


def make_page(folder: Path = RESULTS) -> str:
    """Return the page of the docs, made from the results in a folder."""
    suite = _read(folder / "speed.json") or {}
    files = {name: result for name in SECTIONS if (result := _read(folder / f"{name}.json")) is not None}
    text = [*INTRODUCTION.splitlines(), *_not_measured(suite, files)]
    for name, title in SUITE.items():
        if name in suite:
            text += ["", f"## {title}", *NOTES.get(name, [])]
        for result in suite.get(name, []):
            text += _suite_table(name, result)
    for name, result in files.items():
        text += SECTIONS[name][1](result)
    return "\n".join(text) + "\n"


def _suite_table(name: str, result: dict[str, Any]) -> list[str]:
    """Write what one run of a benchmark gave, and on what."""
    load = result["machine"]["load_average"][0]
    command = " ".join([f"benchmarks/{name}.py", *result["arguments"]])
    rows = [cells(line, load) for line in result["lines"]]
    return [*table(rows), "", f"`{command}` on {machine_words(result['machine'])}."]


def _not_measured(suite: dict[str, Any], files: dict[str, Any]) -> list[str]:
    """List the benchmarks whose results are missing, or older than one of their lines."""
    missing = [f"`benchmarks/{name}.py`: {title.lower()};" for name, title in SUITE.items() if name not in suite]
    for name, line in NEWER_LINES.items():
        measured = {each["what"] for result in suite.get(name, []) for each in result["lines"]}
        if name in suite and line not in measured:
            missing.append(f"`benchmarks/{name}.py`: {line};")
    missing += [f"`{script}`;" for name, (script, _) in SECTIONS.items() if name not in files]
    return ["", "Not measured yet:", "", *(f"* {each}" for each in missing)] if missing else []


def _read(path: Path) -> Any:
    return json.loads(path.read_text()) if path.exists() else None
