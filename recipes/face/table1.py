"""Table 1 of the FC-Aligner paper: Dense and Multi-branch, trained and tested as the paper does.

    python recipes/face/table1.py --data DATA --output recipes-out --epochs 8

The simulated life-cycle stands for the paper's private faces (see life_cycle.py): its columns can be read beside the
paper's, as an experiment of the same shape, not as a replication. With --data the same aligners are trained on face
models that exist, on LFW. Each cell is written as soon as it is done. A second run keeps the finished cells and resumes
the unfinished one after its last epoch: checkpoints are in OUTPUT/table1. Cells of more than 60,000 subjects need a
GPU, and say "not run" without one.

    python recipes/face/table1.py --device gpu --time-limit 480

With --time-limit, no epoch starts that would end later, and a cell that is not finished then is tested as it is. The
next run resumes it.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from lfw import MODEL_PAIRS, load_pairs, stand_in_pairs
from life_cycle import simulated_pairs
from paper import TABLE_1, TEST_SUBJECTS, Cell
from recipe import make_parser, write_result

import embcompat as ec

PAIRS = (("11", "46.4"), ("3", "11"), ("11", "16"), ("11", "27"))
SUBJECTS = (60_000, 321_000, 1_680_000)
ON_A_CPU = 60_000
NORMS = {"raw": False, "unit norm": True}
COLUMNS = ("mean_genuine", "mean_impostor", "frr", "far", "far_at_frr", "intervals")


@dataclass(frozen=True)
class Job:
    """One cell of the table, and the data it is for.

    Attributes:
        data: ``simulated``, ``LFW, raw`` or ``LFW, unit norm``.
        cell: What is trained; its subjects are 0 where the data set decides.
    """

    data: str
    cell: Cell

    @property
    def name(self) -> str:
        """What the cell is called in the output."""
        subjects = f", {self.cell.subjects:,} subjects" if self.cell.subjects else ""
        return (
            f"{self.data}: {self.cell.source} → {self.cell.target}, {self.cell.kind}, "
            f"batch {self.cell.batch_size}{subjects}"
        )


def list_jobs(parts: Sequence[str], *, smoke: bool) -> Iterator[Job]:
    """Yield the cells, those that the paper prints first."""
    kinds, batches = ("dense", "multi_branch"), (512, 128)
    if "simulated" in parts:
        sizes = (600,) if smoke else SUBJECTS
        grid = [
            Cell(source, target, kind, subjects, batch)
            for subjects, batch, kind, (source, target) in product(sizes, batches, kinds, PAIRS)
        ]
        order = sorted(grid, key=lambda cell: (cell.subjects, paper_cell(cell) is None))
        yield from (Job("simulated", cell) for cell in (order[:1] if smoke else order))
    if "lfw" in parts:
        fits = product(batches, NORMS, MODEL_PAIRS, kinds)
        jobs = [Job(f"LFW, {norm}", Cell(*models, kind, 0, batch)) for batch, norm, models, kind in fits]
        yield from jobs[:1] if smoke else jobs


def paper_cell(cell: Cell) -> Cell | None:
    """Return the paper's cell of the same versions, kind and batch: the one with as many subjects, or any other."""
    same = [
        each
        for each in TABLE_1
        if (each.source, each.target, each.kind, each.batch_size)
        == (cell.source, cell.target, cell.kind, cell.batch_size)
    ]
    return next((each for each in same if each.subjects == cell.subjects), same[0] if same else None)


def load_split(job: Job, options: argparse.Namespace) -> ec.PairSplit:
    """Return pairs to train, validate and test on, without a common subject."""
    if job.data == "simulated":
        ways = job.cell.source, job.cell.target
        pairs = simulated_pairs(*ways, job.cell.subjects, part="train", seed=options.seed)
        split = ec.split_pairs(pairs, test=0, seed=options.seed)
        subjects = 300 if options.smoke else TEST_SUBJECTS
        test = simulated_pairs(*ways, subjects, part="test", seed=options.seed)
        return ec.PairSplit(split.train, split.validation, test)
    normalized = NORMS[job.data.removeprefix("LFW, ")]
    if options.data is None:
        pairs = stand_in_pairs(normalized=normalized, seed=options.seed)
    else:
        pairs = load_pairs(options.data, job.cell.source, job.cell.target, normalized=normalized)
    return ec.split_pairs(pairs, test=0.3, seed=options.seed)


def train(
    job: Job, split: ec.PairSplit, options: argparse.Namespace, seconds: float | None
) -> tuple[ec.Aligner, dict[str, Any]]:
    """Train one cell, resuming what an earlier run left; return the aligner, and how far the training came.

    The rate counts the training pairs of this run, with its start and its validation; it is None where an earlier run
    had trained all epochs.
    """
    runs = options.output / ("table1.smoke" if options.smoke else "table1")
    folder = runs / re.sub(r"\W+", "-", f"{job.name} seed {options.seed}")
    checkpoint = folder / "last.ckpt"
    before, start = read_epochs(checkpoint)[0], time.monotonic()
    aligner = ec.fit_neural(
        split.train,
        split.validation,
        kind=job.cell.kind,
        preset="fc_aligner",
        batch_size=job.cell.batch_size,
        epochs=options.epochs,
        seed=options.seed,
        run_dir=folder,
        resume=checkpoint.exists(),
        device=options.device,
        time_limit=seconds,
    )
    elapsed = time.monotonic() - start
    epochs, stopped_early = read_epochs(checkpoint)
    return aligner, {
        "epochs": epochs,
        "unfinished": epochs < options.epochs and not stopped_early,
        "samples_per_second": (epochs - before) * len(split.train) / elapsed if epochs > before else None,
    }


def read_epochs(checkpoint: Path) -> tuple[int, bool]:
    """Return how many epochs a checkpoint has behind it, and whether early stopping ended them."""
    import torch

    if not checkpoint.exists():
        return 0, False
    stored = torch.load(checkpoint, map_location="cpu", weights_only=True)
    stops = [state for name, state in stored["callbacks"].items() if name.startswith("EarlyStopping")]
    return int(stored["epoch"]) + 1, any(state["stopped_epoch"] for state in stops)


def run(job: Job, options: argparse.Namespace, seconds: float | None) -> dict[str, Any]:
    """Train one cell for at most so many seconds, and test it."""
    start = time.monotonic()
    split, paper = load_split(job, options), None if options.smoke else paper_cell(job.cell)
    left = None if seconds is None else seconds - (time.monotonic() - start)
    if left is not None and left <= 0:
        return {"not_run": "the time limit came before it"}
    aligner, progress = train(job, split, options, left)
    test = split.test
    converted = ec.convert_embeddings(aligner, test.source, test.target.space)
    report = ec.evaluate_verification(
        test.source,
        test.target,
        converted,
        frr=TABLE_1[paper][0].frr if paper else 0.05,
        all_images=job.data != "simulated",
        replicates=20 if options.smoke else 200,
        seed=options.seed,
    ).to_dict()
    return {
        **asdict(job.cell),
        "data": job.data,
        "most_epochs": options.epochs,
        **progress,
        "pairs": {part: len(pairs) for part, pairs in split.parts().items()},
        "test_subjects": report["subjects"],
        "all_images": report["all_images"],
        "target_frr": report["target_frr"],
        "same_item_distance": report["same_item_distance"],
        "scenarios": {name: {key: each[key] for key in COLUMNS} for name, each in report["scenarios"].items()},
        "paper": None if paper is None else {"subjects": paper.subjects, "rows": [vars(row) for row in TABLE_1[paper]]},
    }


def print_cell(name: str, cell: dict[str, Any]) -> None:
    """Print the four scenarios of a cell, each above the paper's."""
    print(f"\n{name}" + ("" if "not_run" not in cell else f": not run, {cell['not_run']}"))
    if "not_run" in cell:
        return
    if cell.get("samples_per_second"):
        epochs, rate = f"{cell['epochs']} of {cell['most_epochs']} epochs", f"{cell['samples_per_second']:,.0f}"
        left = "; the time limit ended it, and the next run resumes it" if cell["unfinished"] else ""
        print(f"  {epochs}, {rate} pairs a second{left}")
    print(f"  {'':8}{'genuine':>9}{'impostor':>10}{'FRR':>9}{'FAR':>12}{'FAR at this FRR':>18}")
    for number, (scenario, each) in enumerate(cell["scenarios"].items()):
        far, own_far = (f"1/{1 / each[key]:,.0f}" if each[key] else "none" for key in ("far", "far_at_frr"))
        distances = f"{each['mean_genuine']:9.4f}{each['mean_impostor']:10.4f}"
        print(f"  {scenario:8}{distances}{each['frr']:9.2%}{far:>12}{own_far:>18}")
        if cell["paper"] is not None:
            row = cell["paper"]["rows"][number]
            print(
                f"  {'  paper':8}{row['mean_genuine']:9.4f}{row['mean_impostor']:10.4f}{row['frr']:9.2%}"
                f"{'1/' + format(row['one_in'], ','):>12}"
            )
    if cell["paper"] is not None and cell["paper"]["subjects"] != cell["subjects"]:
        print(f"  (the paper's cell: {cell['paper']['subjects']:,} subjects)")


def has_gpu() -> bool:
    import torch

    return torch.accelerator.is_available()


def read_cells(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return the cells that an interrupted run with the same seed left."""
    recorded = json.loads(path.read_text()) if path.exists() else {}
    return recorded.get("cells", {}) if recorded.get("seed") == options.seed else {}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--epochs", type=int, default=240, help="most epochs of a fit; the paper's 240 when left out")
    parser.add_argument("--parts", nargs="+", choices=("simulated", "lfw"), help="which data; all there is by default")
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto", help="where to train")
    parser.add_argument("--time-limit", type=float, help="seconds after which no epoch ends, but the first of a cell")
    start = time.monotonic()
    options = parser.parse_args(arguments)
    parts = options.parts or (["simulated", "lfw"] if options.data or options.smoke else ["simulated"])
    if "lfw" in parts and options.data is None and not options.smoke:
        parser.error("--parts lfw needs --data")
    gpu = options.device != "cpu" and has_gpu()
    if options.device == "gpu" and not gpu:
        parser.error("--device gpu needs a GPU, and torch finds none")
    if options.smoke:
        options.epochs = 1
    jobs = list(list_jobs(parts, smoke=options.smoke))
    cells = {} if options.smoke else read_cells(options.output / "table1.json", options)
    for job in jobs:
        waits = job.cell.subjects > ON_A_CPU and not gpu
        cells.setdefault(job.name, {"not_run": "needs a GPU" if waits else "the run ended before it"})
    for job in jobs:
        if cells[job.name].get("most_epochs") == options.epochs and not cells[job.name].get("unfinished"):
            print(f"{job.name}: done before")
            continue
        left = None if options.time_limit is None else options.time_limit - (time.monotonic() - start)
        if left is not None and left <= 0:
            print(f"\nthe time limit of {options.time_limit:g} s came before {job.name}")
            break
        if job.cell.subjects <= ON_A_CPU or gpu:
            cells[job.name] = run(job, options, left)
        print_cell(job.name, cells[job.name])
        write_result(options, "table1", {"cells": cells})


if __name__ == "__main__":
    main()
