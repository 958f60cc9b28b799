"""What was tried on the way to the recommended aligner of ``beat_the_paper.py``, also what failed.

On other pairs of models than those that are reported (mfn_b → mfn_a and dlib → mfn_a), two of five folds of people.
Every line is scenario 3: converted anchors against new positives, FAR at FRR 5 %, by person, with the paired interval
of its ratio to Dense.

    python recipes/face/tried.py --data DATA --output recipes-out

Converted vectors are kept in ``OUTPUT/tried/``, so that a second run goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fitted import PAPER, fit
from lfw import load_pairs, stand_in_pairs
from pooled import FRR, count_errors, person_folds, pool, pooled_ratio
from recipe import make_parser, write_result
from weighted_kernel import fit_weighted_kernel

import embcompat as ec
from embcompat.aligners import fit_kernel
from embcompat.embeddings import normalize_rows
from embcompat.evaluation.verification import (
    CohortStatistics,
    VerificationPairs,
    draw_subjects,
    make_cohort,
    normalized_pairs,
    one_in,
    threshold_at_frr,
)

MODEL_PAIRS = (("mfn_b", "mfn_a"), ("dlib", "mfn_a"))
FOLDS, USED = 5, (0, 1)

Parts = dict[str, np.ndarray]
"""Converted unit vectors of the parts ``train``, ``validation`` and ``test``."""


class Fold:
    """One fold: its pairs, and the converted vectors of every aligner, fitted when they are first asked for."""

    def __init__(self, split: ec.PairSplit, folder: Path, *, smoke: bool) -> None:
        self.split, self.folder = split, folder
        self.short: dict[str, Any] = {"epochs": 1} if smoke else {}
        self.new: Parts = {name: part.target.vectors.astype(np.float64) for name, part in split.parts().items()}
        self.codes = np.unique(np.asarray(split.test.labels).astype(str), return_inverse=True)[1]
        self.labels = np.asarray(split.train.labels)

    def converted(self, name: str) -> Parts:
        """Return what an aligner makes of the parts: from disk, where an earlier run left it."""
        path = self.folder / f"{name}.npz"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            aligner = self._fit(name)
            parts = {part: aligner.transform(pairs.source.vectors) for part, pairs in self.split.parts().items()}
            np.savez(path, **parts)
        with np.load(path) as arrays:
            return {part: normalize_rows(arrays[part].astype(np.float64)) for part in self.new}

    def _fit(self, name: str) -> ec.Aligner:
        train, validation = self.split.train, self.split.validation
        kind, _, what = name.partition("-")
        if kind == "kernel" and what == "refit":
            return fit_kernel(train, validation, refit=True)
        if kind == "kernel" and what.startswith("penalty"):
            return fit_kernel(train, validation, penalty=float(what.removeprefix("penalty")))
        if kind == "kernel" and what:
            return fit_weighted_kernel(train, validation, what)
        if kind == "residual":
            return fit("residual", self.split, seed=int(what), **self.short)
        return fit(kind, self.split, seed=0, **({} if kind == "kernel" else self.short))

    def mean(self, *names: str) -> Parts:
        """Average several aligners' unit vectors."""
        every = [self.converted(name) for name in names]
        return {part: normalize_rows(sum(each[part] for each in every)) for part in self.new}

    def reweighting(
        self, converted: Parts, *, strength: float = 1.0, residual: float = 1.0, within: float = 1.0
    ) -> Any:
        """Return the matrix of `embcompat.reweight`, with its two covariances weighed."""
        spread = residual * np.cov(self.new["validation"] - converted["validation"], rowvar=False, ddof=0)
        spread = spread + within * within_covariance(self.new["train"], self.labels)
        return np.linalg.inv(spread + strength * np.trace(spread) / len(spread) * np.eye(len(spread)))

    def pairs(self, anchors: np.ndarray, positives: np.ndarray, similarity: Any = "cosine") -> VerificationPairs:
        """Compare every converted anchor with every new positive."""
        return VerificationPairs(anchors, positives, self.codes, self.codes, similarity, same_items=True)


def within_covariance(vectors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    people, counts = np.unique(labels.astype(str), return_inverse=True, return_counts=True)[1:]
    means = np.zeros((len(counts), vectors.shape[1]))
    np.add.at(means, people, vectors)
    centred = vectors - (means / counts[:, np.newaxis])[people]
    return centred.T @ centred / max(len(vectors) - len(counts), 1)


def lines(fold: Fold) -> Iterator[tuple[str, VerificationPairs]]:
    """Yield what was tried, with its scenario 3."""
    new = fold.new["test"]

    def plain(converted: np.ndarray) -> VerificationPairs:
        return fold.pairs(converted, new)

    for name in (PAPER, "dense", "kernel", "residual-0", "residual-1", "residual-2"):
        parts = fold.converted(name)
        yield name, plain(parts["test"])
        yield f"{name}, reweighted", plain(parts["test"] @ fold.reweighting(parts).T)
    networks = [f"residual-{seed}" for seed in range(3)]
    means = {
        "three networks": networks,
        "kernel + network": ["kernel", "residual-0"],
        "kernel + three networks": ["kernel", *networks],
        "kernel + three networks + dense": ["kernel", *networks, "dense"],
        "kernel fitted on validation too + network (recommended)": ["kernel-refit", "residual-0"],
    }
    for name, members in means.items():
        parts = fold.mean(*members)
        yield f"{name}, reweighted", plain(parts["test"] @ fold.reweighting(parts).T)
    others = "penalty0.05", "penalty0.6", "penalty2", "robust", "per_person", "class_mean_0.3", "class_mean_0.7"
    for name in others:
        parts = fold.converted(f"kernel-{name}")
        yield f"kernel {name}, reweighted", plain(parts["test"] @ fold.reweighting(parts).T)
    yield from _outputs(fold, plain)


def _outputs(fold: Fold, plain: Callable[[np.ndarray], VerificationPairs]) -> Iterator[tuple[str, VerificationPairs]]:
    """Yield variants of what is done with the mean of kernel and network."""
    parts, new = fold.mean("kernel", "residual-0"), fold.new["test"]
    for strength in (0.2, 0.5, 2.0, 4.0):
        yield f"reweighted, strength {strength:g}", plain(parts["test"] @ fold.reweighting(parts, strength=strength).T)
    for residual, within in ((0, 1), (1, 0), (1, 2), (2, 1)):
        matrix = fold.reweighting(parts, residual=residual, within=within)
        yield f"reweighted, residual × {residual}, within × {within}", plain(parts["test"] @ matrix.T)
    matrix = fold.reweighting(parts)
    yield "centred, then reweighted", plain((parts["test"] - parts["validation"].mean(axis=0)) @ matrix.T)
    certain = np.linalg.norm(sum(fold.converted(name)["test"] for name in ("kernel", "residual-0")), axis=1)
    ours = {part: normalize_rows(parts[part] @ matrix.T) for part in ("train", "test")}
    yield "agreement of the members as length", fold.pairs(ours["test"] * certain[:, np.newaxis], new, "dot")
    old = fold.split.test.source.vectors
    for weight in (0.25, 0.5, 1.0):
        sides = (np.hstack([side, np.sqrt(weight) * old]) for side in (ours["test"], new))
        yield f"fused with the old cosine, weight {weight:g}", fold.pairs(*sides, "dot")
    yield from _normalized(fold, ours, "ours")
    yield from _normalized(fold, fold.converted("dense"), "dense")


def _normalized(fold: Fold, converted: Parts, name: str) -> Iterator[tuple[str, VerificationPairs]]:
    """Yield score normalization of one side, of the other, and of both."""
    train = fold.split.train
    top = min(300, len(set(fold.labels.tolist())))
    sides = converted["test"], fold.new["test"]
    statistics = []
    for vectors, cohort in zip(sides, (train.target.vectors, converted["train"]), strict=True):
        embeddings = ec.Embeddings(cohort.astype(np.float32), train.ids, train.target.space, train.labels)
        statistics.append(make_cohort(embeddings, top=top).statistics(vectors))
    one = CohortStatistics(np.zeros(len(sides[0])), np.full(len(sides[0]), 1e6))
    pairs = fold.pairs(*sides)
    yield f"{name}, converted side normalized", normalized_pairs(pairs, statistics[0], one)
    yield f"{name}, new side normalized", normalized_pairs(pairs, one, statistics[1])
    yield f"{name}, both sides normalized", normalized_pairs(pairs, *statistics)


def measure_fold(fold: Fold, *, seed: int, smoke: bool) -> dict[str, Any]:
    """Count the errors of every line on the people that a fold holds out."""
    native = fold.pairs(fold.new["test"], fold.new["test"])
    fixed = threshold_at_frr(native.genuine.scores, FRR, votes=native.genuine.votes)
    draws = draw_subjects(native, seed=seed, replicates=50 if smoke else 1_000)
    counts = {line: count_errors(pairs, fixed, draws) for line, pairs in lines(fold)}
    return {"lines": counts, "impostor_votes": draws.impostor_votes.tolist()}


def summarize(folds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Pool the folds line by line, and compare each line with Dense."""
    votes = [fold["impostor_votes"] for fold in folds]
    by_line = {line: [fold["lines"][line] for fold in folds] for line in folds[0]["lines"]}
    summary = {}
    for line, counts in by_line.items():
        pooled = pool(counts, votes)
        far, ratio = pooled["far_at_frr"], pooled_ratio(counts, by_line["dense"], votes)
        summary[line] = pooled | {"far_at_frr": far["value"], "interval": [far["low"], far["high"]], "to_dense": ratio}
    return summary


def main(arguments: Sequence[str] | None = None) -> None:
    options = make_parser(__doc__).parse_args(arguments)
    result: dict[str, Any] = {}
    for old, new in MODEL_PAIRS[:1] if options.smoke else MODEL_PAIRS:
        name = f"{old} → {new}" if options.data else "stand-in"
        pairs = load_pairs(options.data, old, new) if options.data else stand_in_pairs(seed=options.seed)
        splits = person_folds(pairs, folds=FOLDS, seed=options.seed)
        folds = []
        for number in USED[:1] if options.smoke else USED:
            folder = options.output / ("tried-smoke" if options.smoke else "tried") / f"{old}-{new}-fold-{number}"
            fold = Fold(splits[number], folder, smoke=options.smoke)
            folds.append(measure_fold(fold, seed=options.seed + number, smoke=options.smoke))
            print(f"{name}: fold {number} measured", flush=True)
        result[name] = summarize(folds)
        print(f"\n{name}: FAR at FRR 5 % in scenario 3, and as a multiple of dense (95 %)")
        for line, row in result[name].items():
            ratio = row["to_dense"]
            times = "" if ratio["value"] is None else "{value:.3f} ({low:.3f} to {high:.3f})".format(**ratio)
            print(f"  {line:66s} {one_in(row['far_at_frr']):>14s}  {times}")
    write_result(options, "tried", {"frr": FRR, "folds": list(USED), "upgrades": result})


if __name__ == "__main__":
    main()
