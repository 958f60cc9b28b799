"""λ-orthogonality where classes are known and images are new, as in the paper: by class, with intervals.

The new model is a weak one (dlib), so that a map may gain by adapting to the people it was fitted on. People with many
images are split by image: some fit the maps, others test them. The rest of the people are unseen: they show what the
adaptation costs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import embcompat as ec
from embcompat.evaluation import search

LAMBDAS = ("strict", 0.0, 12.0, 22.0, math.inf)
LEARNING_RATE, EPOCHS = 3e-3, 60
KNOWN_SHARE, REPLICATES = 0.6, 1_000

Fit = Callable[..., ec.AlignerPair]


@dataclass(frozen=True, eq=False)
class Hits:
    """Whether the closest other item of each query has its label.

    Attributes:
        hits: Array (q,), 1 or 0.
        people: Array (q,), codes of the labels.
    """

    hits: np.ndarray
    people: np.ndarray

    @property
    def rate(self) -> float:
        """CMC-Top1."""
        return float(self.hits.mean())

    def replicates(self, draws: np.ndarray) -> np.ndarray:
        """Return CMC-Top1 in each draw of the people (replicates, people)."""
        sums, counts = (np.bincount(self.people, each, draws.shape[1]) for each in (self.hits, np.ones(len(self.hits))))
        return np.asarray((draws @ sums) / (draws @ counts))


def find_closest(queries: np.ndarray, gallery: np.ndarray, labels: np.ndarray) -> Hits:
    """Search every item that is not the only one of its label; no item finds itself."""
    dim = min(queries.shape[1], gallery.shape[1])
    _, people, counts = np.unique(labels.astype(str), return_inverse=True, return_counts=True)
    rows = np.flatnonzero(counts[people] > 1)
    nearest = search(queries[rows, :dim], gallery[:, :dim], k=1, similarity="cosine", exclude_self=rows)[1][:, 0]
    return Hits((people[nearest] == people[rows]).astype(np.float64), people[rows])


def split_known(pairs: ec.PairedEmbeddings, *, seed: int) -> tuple[ec.PairSplit, ec.PairedEmbeddings]:
    """Split by image the people who are known, and return the others apart.

    Returns:
        Train, validation and test (60, 10 and 30 % of the images of known people), and all images of unseen people.
    """
    rng = np.random.default_rng(seed)
    people = np.unique(np.asarray(pairs.labels).astype(str), return_inverse=True)[1]
    known = rng.random(people.max() + 1) < KNOWN_SHARE
    rows = rng.permutation(np.flatnonzero(known[people]))
    ends = int(0.6 * len(rows)), int(0.7 * len(rows))
    parts = (pairs.select(part) for part in np.split(rows, ends))
    return ec.PairSplit(*parts), pairs.select(~known[people])


def ablate_known(
    pairs: ec.PairedEmbeddings, fit: Fit, lambdas: Sequence[str | float], *, epochs: int, seed: int
) -> dict[str, Any]:
    """Fit every λ; measure B/F and B/B on new images of known people, and B/B on unseen people.

    Each figure has its interval, and that of its difference from strict B, from one bootstrap over people.
    """
    split, unseen = split_known(pairs, seed=seed)
    labels = {"known": np.asarray(split.test.labels), "unseen": np.asarray(unseen.labels)}
    rng = np.random.default_rng(seed)
    draws = {
        name: rng.multinomial(
            len(set(each.tolist())), np.full(len(set(each.tolist())), 1 / len(set(each.tolist()))), REPLICATES
        )
        for name, each in labels.items()
    }
    native = {"old/old": split.test.source, "new/new": split.test.target}
    raw = {name: find_closest(side.vectors, side.vectors, labels["known"]).rate for name, side in native.items()}
    raw["new/new, unseen"] = find_closest(unseen.target.vectors, unseen.target.vectors, labels["unseen"]).rate
    rows: dict[str, Any] = {}
    strict: dict[str, np.ndarray] = {}
    for lam in lambdas:
        maps = fit(split.train, split.validation, lam, learning_rate=LEARNING_RATE, epochs=epochs, seed=seed)
        forward = maps.forward_map.transform(split.test.source.vectors)
        backward, strangers = (maps.backward_map.transform(part.target.vectors) for part in (split.test, unseen))
        lines = {
            "B/F": ("known", find_closest(backward, forward, labels["known"])),
            "B/B": ("known", find_closest(backward, backward, labels["known"])),
            "unseen B/B": ("unseen", find_closest(strangers, strangers, labels["unseen"])),
        }
        row = {}
        for name, (who, matches) in lines.items():
            replicates = matches.replicates(draws[who])
            base = strict.setdefault(name, replicates)
            row[name] = {
                "value": matches.rate,
                "interval": np.quantile(replicates, (0.025, 0.975)).tolist(),
                "against_strict": np.quantile(replicates - base, (0.025, 0.975)).tolist(),
            }
        rows[str(lam)] = row
        print(f"  λ = {lam}: " + "  ".join(f"{name} {each['value']:.4f}" for name, each in row.items()), flush=True)
    counts = {"fitted": len(split.train), "test_items": len(split.test), "unseen_items": len(unseen)}
    return {"raw": raw, **counts, "lambdas": rows}
