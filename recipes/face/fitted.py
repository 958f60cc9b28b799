"""Aligners fitted on faces, kept on disk so that a second run goes on where the first one stopped."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

import embcompat as ec
from embcompat.aligners import ALIGNERS
from embcompat.embeddings import normalize_rows

PAPER = "dense_paper"
"""Dense as the paper trains it: the loss sees the output as it is, and the cosine is taken of it afterwards.

The preset ``fc_aligner`` in a normalized space lets the loss see the normalized output: it is called ``dense`` here.
"""


def fit_or_load(name: str, split: ec.PairSplit, folder: Path, *, seed: int, **options: Any) -> tuple[ec.Aligner, float]:
    """Fit an aligner, or load it if an earlier run did; also return the seconds of the fit.

    Args:
        name: A kind of aligner, or `PAPER`.
        split: The pairs.
        folder: Where to keep it, as ``<name>.npz`` and ``<name>.json``.
        seed: Seed of the fit.
        options: Options of the fit.
    """
    record = folder / f"{name}.json"
    if record.exists():
        entry = json.loads(record.read_text())
        with np.load(folder / f"{name}.npz") as arrays:
            return ALIGNERS[entry["kind"]](entry["config"], dict(arrays)), entry["seconds"]
    start = time.perf_counter()
    aligner = fit(name, split, seed=seed, **options)
    seconds = time.perf_counter() - start
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / f"{name}.npz", **aligner.state())
    record.write_text(json.dumps({"kind": aligner.kind, "config": aligner.config(), "seconds": seconds}))
    return aligner, seconds


def fit(name: str, split: ec.PairSplit, *, seed: int, **options: Any) -> ec.Aligner:
    """Fit an aligner of a kind, or `PAPER`."""
    train, validation = split.train, split.validation
    if name == PAPER:
        train, validation = (_without_normalization(part) for part in (train, validation))
    aligner = ec.fit_aligner("dense" if name == PAPER else name, train, validation, seed=seed, **options)
    if isinstance(aligner, ec.AlignerPair):
        raise TypeError(f"{name} fits a pair of aligners")
    return aligner


def convert(aligner: ec.Aligner, pairs: ec.PairedEmbeddings) -> ec.Embeddings:
    """Convert the source side to unit vectors of the target space."""
    vectors = normalize_rows(aligner.transform(pairs.source.vectors))
    return ec.Embeddings(vectors, pairs.ids, pairs.target.space, pairs.labels)


def _without_normalization(pairs: ec.PairedEmbeddings) -> ec.PairedEmbeddings:
    target = pairs.target
    space = target.space.model_copy(update={"normalized": False})
    return ec.PairedEmbeddings(pairs.source, ec.Embeddings(target.vectors, target.ids, space, target.labels))
