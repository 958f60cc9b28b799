"""Sections of the page, each made from one file of results."""

from __future__ import annotations

import itertools
from typing import Any

from tables import HEAD, cells, duration, machine_words, over, size, table

STEPS = {
    "plan": "`plan`",
    "run": "`run`",
    "verify": "`verify`",
    "cutover with its index": "`cutover`",
    "drop old": "`drop-old`",
}
"""The steps of a migration as they were timed, and the commands."""


def stores_section(result: dict[str, Any]) -> list[str]:
    """Write the ratios of live galleries."""
    return [
        "",
        "## Stores",
        "",
        "The ratio compares a whole migration (run, comparison, verification, cutover) with reading and writing every",
        "row, without conversion, through the store's bare client.",
        "",
        "Most stores miss their aim, because a migration must do what a copy need not do. In PostgreSQL both tables",
        "are counted three times and compared twice before the switch, once by the version of every row.",
        "FAISS and `.npy` first write the converted vectors to a file from which a killed run resumes, and read the",
        "new index back. LanceDB merges each page into the table by id, which costs more the more rows there are.",
        "sqlite-vec, Chroma and Milvus Lite look every record up several times by its id, and Chroma's metadata,",
        "where the provenance is, costs it a third of a write. DuckDB makes the table again at the cutover: three",
        "copies are written where the comparison writes one.",
        "",
        "What a migration cannot leave out sets a bound. In processor time of client and server, on a busy machine,",
        "reading, converting and writing 200,000 rows with their provenance reach 0.76 of the bare client in",
        "PostgreSQL, before anything is counted, compared or read back. In FAISS, reading, converting, writing the",
        "file from which a killed run resumes and building the index from it reach 0.64 to 0.75 with 300,000 rows.",
        *table([cells(line, line.get("load_average")) for line in result["lines"] if "ratio" in line]),
        "",
        "`benchmarks/stores.py --out benchmarks/results/stores.json`; the lines were measured at different times, the",
        f"latest on {machine_words(result['machine'])}.",
    ]


def migration_section(result: dict[str, Any]) -> list[str]:
    """Write what the steps of a large migration took, and what a lazy backfill adds to a search of the gallery."""
    rows = []
    for line in result["lines"]:
        if "step_seconds" in line:
            steps = [line["step_seconds"].get(name) for name in STEPS]
            total = sum(each for each in steps if each is not None)
            loads = f"{line['load_average']:.1f}"
            each_step = ["–" if each is None else duration(each) for each in steps]
            rows.append([line["what"], *each_step, duration(total), f"{line['rows'] / total:,.0f}", loads])
    lazy = [line for line in result["lines"] if "ratio" in line]
    searches = [
        "",
        "After the cutover, threads search for the nearest rows: once through the store's bare client, and once",
        "through a lazy backfill whose candidates are native already. It ranks them by their vectors: in LanceDB the",
        "first search brings these along, in PostgreSQL queries that wait share a second read. The table shows the",
        "median and the 99th percentile of one query.",
        *table([cells(line, line["load_average"]) for line in lazy]),
    ]
    return [
        "",
        "## A large gallery from plan to drop-old",
        "",
        "What each command of a migration takes on a live gallery that has an index of its vectors. The new vectors",
        "get theirs in `run` or in `cutover`, as the store allows; until `cutover`, searches are served from the old",
        "vectors. Only `drop-old` cannot be undone.",
        *table(rows, ["what", *STEPS.values(), "together", "rows a second", "load"]),
        *(searches if lazy else []),
        "",
        "`benchmarks/migration_steps.py --rows 1000000 --out benchmarks/results/migration_steps.json` on",
        f"{machine_words(result['machine'])}.",
    ]


def scale_section(result: dict[str, Any]) -> list[str]:
    """Write the run over many shards, and what billions of rows would take on a cluster."""
    rows, billions = [], []
    for line in result["lines"]:
        rows.append(
            [
                line["kind"],
                f"{line['rows']:,}",
                f"{line['rows_per_second_of_a_process']:,.0f}",
                f"{line['last_third_against_first']:.2f}",
                f"{line['largest_error']:.1e}",
                " → ".join(map(size, line.get("peak_bytes_of_thirds", [line["peak_bytes"]]))),
                f"{line['resumed_rows']:,}",
            ]
        )
        for each in line["extrapolated"]:
            core_hours = each["hours"] * each["processes"]
            per_hour = f"{each['price'] / core_hours:.3g}"
            wall = duration(3_600 * each["hours"])
            prices = [f"{each['processes']:,}", wall, f"{core_hours:,.1f}", per_hour, f"{each['price']:,.2f}"]
            billions.append([line["kind"], f"{each['rows']:,.0f}", *prices])
    head = ["aligner", "rows", "rows a second of a process", "rate, last third / first third", "largest error"]
    head += ["peak memory of a process, by thirds of the run", "rows kept after the kill"]
    return [
        "",
        "## The run at scale",
        "",
        "Does a long conversion slow down, grow or go wrong? Two processes with one thread each convert Parquet",
        "shards, 128 → 128, as the workers of a cluster would; the kernel has 2,500 landmarks, the default. One",
        "process is killed with SIGKILL in the middle of a shard and started again: it keeps the rows of that shard",
        "that it had written. Rows of every shard are compared with the aligner in numpy; the largest error is",
        "relative to the length of the vector. At a rate of last third / first third of 1 the run did not slow",
        "down. Peak memory is the most that a process had used so far, the comparison included, so it can only",
        "rise.",
        *table(rows, head),
        "",
        "The same rate on a cluster with one process for each core. The price is that of a core for an hour, in any",
        "currency. This assumes storage that keeps up and no stragglers: see [past one",
        "machine](../how-to/past-one-machine.md).",
        *table(billions, ["aligner", "rows", "cores", "time", "core hours", "price of a core hour", "price"]),
        "",
        "`benchmarks/scale.py --rows 100000000 --folder FOLDER --out benchmarks/results/scale.json` on",
        f"{machine_words(result['machine'])}, at a load of {result['machine']['load_average'][0]:.1f} at the end. "
        "FOLDER needs 4 GB; the same command resumes an interrupted run.",
    ]


def gpu_section(result: dict[str, Any]) -> list[str]:
    """Write what a GPU brings, or why it was not measured."""
    text = ["", "## GPU", ""]
    command = "`benchmarks/gpu.py --out benchmarks/results/gpu.json` ends within eight minutes."
    if "skipped" in result:
        return [*text, f"Not measured: {result['skipped']}. {command}"]
    lines = [line for line in result["lines"] if "ratio" in line]
    skipped = [line for line in result["lines"] if "skipped" in line]
    rates = [f"{line['rows_per_second']:,.0f}" if "rows_per_second" in line else "–" for line in lines]
    load = result["machine"]["load_average"][0]
    rows = [[*cells(line, load), rate] for line, rate in zip(lines, rates, strict=True)]
    reasons = [["", f"Not measured: {line['what']} ({line['skipped']})."] for line in skipped]
    return [
        *text,
        f"Measured on one {result['machine']['gpu']}.",
        *table(rows, [*HEAD, "rows a second"]),
        *itertools.chain(*reasons),
        "",
        f"{command} With it: {machine_words(result['machine'])}.",
    ]


def lazy_section(result: dict[str, Any]) -> list[str]:
    """Write what one query takes while a lazy backfill embeds its candidates with a real model."""
    text = [
        "",
        "## Lazy backfill with the model in the loop",
        "",
        "One query after the other searches a gallery of docstrings; candidates that have no native vector yet are",
        "embedded with all-MiniLM-L6-v2 on this machine's processor before the answer. The first queries wait for the",
        "model, later ones find their candidates native. What it is worth:",
        "[backfill while serving](../how-to/backfill-while-serving.md).",
    ]
    for part in ("docstrings", "cranfield"):
        if part not in result:
            continue
        figures = result[part]
        rows = [
            [
                f"{part}, {figures['gallery_size']:,} items, {figures['queries']:,} queries",
                name,
                *(f"{half:,.1f} ms" for half in each["p50_milliseconds_of_each_half"]),
                f"{each['p99_milliseconds']:,.0f} ms",
                f"{each['rows_embedded']:,}",
                f"{figures['load_average'][0]:.1f}",
            ]
            for name, each in figures.items()
            if isinstance(each, dict) and "p99_milliseconds" in each
        ]
        head = ["gallery", "candidates", "median, first half", "median, second half", "99th percentile"]
        text += table(rows, [*head, "items embedded", "load"])
    command = "benchmarks/lazy.py --data DATA --out benchmarks/results/lazy.json"
    return [*text, "", f"`{command}` on {machine_words(result['machine'])}."]


def verdicts_section(result: dict[str, Any]) -> list[str]:
    """Count the right verdicts."""
    cases = result["cases"].values()
    right = sum(case["right"] for case in cases)
    agree = sum(not case["differences_between_doors"] for case in cases)
    return [
        "",
        "## Verdicts",
        "",
        f"{right} of {len(cases)} upgrades of real text models got the verdict that was written down before, and for",
        f"{agree} of {len(cases)} Python and the command line give the same figures: [is the verdict",
        "right?](figures.md#is-the-verdict-right) `benchmarks/verdicts.py --data DATA` shows how.",
    ]


def tests_section(result: dict[str, Any]) -> list[str]:
    """Write what the tests take."""
    limits = result["aim_seconds"], result["aim_seconds_of_a_test"]
    rows = [["all", f"{result['tests']:,}", f"≤ {duration(limits[0])}", over(result["seconds"], limits[0])]]
    rows += [
        [f"`{each['name']}`", "1", f"≤ {duration(limits[1])}", over(each["seconds"], limits[1])]
        for each in result["slowest"]
    ]
    return [
        "",
        "## Tests",
        "",
        "What `make test` takes, without the installation, and its slowest tests with their fixtures.",
        *table(rows, ["what", "tests", "aim", "time"]),
        "",
        f"`benchmarks/durations.py` shows how; on {machine_words(result['machine'])}, at a load of",
        f"{result['machine']['load_average'][0]:.1f}.",
    ]


def packages_section(result: dict[str, Any]) -> list[str]:
    """Write the lines of the side-by-side comparison."""
    rows = []
    for upgrade, lines in result["upgrades"].items():
        for line in lines:
            if "refused" in line:
                rows.append([upgrade, line["package"], f"refused: {line['refused']}", "–", "–", "–"])
                continue
            low, high = line["retention_interval"]
            retention = f"{line['retention']:.2f} ({low:.2f} to {high:.2f})"
            stay = f"{line['status_quo'] / line['full_reindex']:.2f}"
            speeds = [f"{line['fit_seconds']:.2f} s", f"{line['vectors_per_second']:,.0f}"]
            rows.append([upgrade, line["package"], *speeds, retention, stay])
    versions = ", ".join(f"{name} {version}" for name, version in result["packages"].items())
    return [
        "",
        "## Beside other packages",
        "",
        "All packages get the same pairs and held-out queries. Each is used as its documentation shows, with its",
        "defaults; `benchmarks/other_packages.py` shows how. Retention is nDCG@10 as a share of a full reindex, with a",
        "95 % interval. Cranfield has 400 pairs for vectors of 384 numbers, where least squares without a penalty",
        "breaks down; NPL has 4,000. The column *stay* shows what a search with the old model keeps.",
        *table(rows, ["upgrade", "package", "fit", "vectors a second", "retention", "stay"]),
        "",
        f"Measured with {versions}, on a machine with other work: the times are rough.",
    ]
