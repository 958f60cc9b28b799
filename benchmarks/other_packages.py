"""Side by side with other packages that map old vectors to a new model: the same pairs, the same held-out queries.

Each is used as its own documentation shows, with its own defaults, from old to new; embspec documents the other
direction, and its least squares knows no difference. Our lines are `ridge`, and `kernel`, which selection prefers on
text. Retention is nDCG@10 of the converted gallery as a share of a full reindex.

    pip install --no-deps vectormigrate==1.0.1 embspec==0.1.0    # in an environment made for this
    python benchmarks/other_packages.py --data DATA --out benchmarks/results/other_packages.json

DATA is described in ``zoo.py``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from embspec import DriftAdapter
from machine import describe, write_results
from numpy.typing import NDArray
from vectormigrate.compat import LowRankAffineAdapter, OrthogonalProcrustesAdapter, ResidualMLPAdapter
from zoo import FITTED_TEXTS, evaluate_texts, load_upgrade

import embcompat as ec
from embcompat.embeddings import normalize_rows

PAIRS = (("para_l3", "minilm"), ("static64", "minilm"))
CONVERTED_ROWS = 65_536

Transform = Callable[[NDArray[np.float32]], NDArray[Any]]


def fit_ours(kind: str, split: ec.PairSplit) -> Transform:
    return ec.fit_aligner(kind, split.train, split.validation).transform


def fit_embspec(split: ec.PairSplit) -> Transform:
    """Fit on all pairs: it has no use for a validation part."""
    source, target = all_pairs(split)
    return DriftAdapter.fit(source, target).transform


def fit_vectormigrate(adapter: type, split: ec.PairSplit) -> Transform:
    """Fit on all pairs: it has no use for a validation part."""
    return adapter().fit(*all_pairs(split)).transform


def all_pairs(split: ec.PairSplit) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    parts = split.train, split.validation
    source, target = (np.vstack([getattr(part, side).vectors for part in parts]) for side in ("source", "target"))
    return source, target


FITS: dict[str, Callable[[ec.PairSplit], Transform]] = {
    "embcompat, ridge": partial(fit_ours, "ridge"),
    "embcompat, kernel": partial(fit_ours, "kernel"),
    "embspec, DriftAdapter": fit_embspec,
    "vectormigrate, OrthogonalProcrustesAdapter": partial(fit_vectormigrate, OrthogonalProcrustesAdapter),
    "vectormigrate, LowRankAffineAdapter": partial(fit_vectormigrate, LowRankAffineAdapter),
    "vectormigrate, ResidualMLPAdapter": partial(fit_vectormigrate, ResidualMLPAdapter),
}


class _Plain:
    """A foreign map in the place of an aligner; its vectors are normalized, as cosine search does."""

    def __init__(self, transform: Transform) -> None:
        self._transform = transform

    def transform(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        return normalize_rows(np.asarray(self._transform(vectors), dtype=np.float32))


def measure(folder: Path, name: str, models: tuple[str, str]) -> list[dict[str, Any]]:
    sides, qrels, split = load_upgrade(folder, name, models)
    rows = np.resize(split.train.source.vectors, (CONVERTED_ROWS, sides["old"].space.dim))
    lines: list[dict[str, Any]] = []
    for label, fit in FITS.items():
        start = time.perf_counter()
        try:
            transform = fit(split)
        except ValueError as error:
            lines.append({"package": label, "refused": str(error)})
            continue
        seconds, start = time.perf_counter() - start, time.perf_counter()
        transform(rows)
        rate = len(rows) / (time.perf_counter() - start)
        report = evaluate_texts(sides, _Plain(transform), qrels, split).to_dict()
        keep = ("status_quo", "converted", "full_reindex", "retention", "retention_interval")
        lines.append(
            {
                "package": label,
                "fit_seconds": seconds,
                "vectors_per_second": rate,
                **{key: report[key] for key in keep},
            }
        )
        print(f"{name}, {' -> '.join(models)}: {label}: retention {report['retention']:.3f}", flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with text/")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    upgrades = {
        f"{old} → {new}, {name}": measure(options.data / "text", name, (old, new))
        for name in FITTED_TEXTS
        for old, new in PAIRS
    }
    versions = {name: version(name) for name in ("embcompat", "embspec", "vectormigrate")}
    machine = describe("onnxruntime")
    write_results({"machine": machine, "packages": versions, "upgrades": upgrades}, options.out)


if __name__ == "__main__":
    main()
