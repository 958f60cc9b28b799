"""The four figures of the FC-Aligner paper: 1 and 2 as diagrams of our own, 3 and 4 from vectors.

    python recipes/face/figures.py --data DATA --output recipes-out

writes ``figure1`` to ``figure4`` as PNG and SVG; the same run gives the same bytes. Figures 3 and 4 show the simulated
life-cycle, 11 → 46.4 (see life_cycle.py), and with --data also mfn_a → mfn_b on LFW.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from diagrams import INK, MUTED, draw_multi_branch, draw_production
from lfw import load_pairs
from life_cycle import simulated_pairs
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from recipe import make_parser, write_result

import embcompat as ec

KINDS = {"dense": "Dense", "multi_branch": "Multi-branch"}
COLOURS = {"old": "#2f6db5", "new": "#d1495b", "dense": "#2e8b57", "multi_branch": "#7b52ab"}
SHOWN, SUBJECTS = 600, 10

Vectors = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Plane:
    """The two directions of most variance of some vectors.

    Attributes:
        mean: Array (dim,).
        directions: Array (2, dim), with signs that are fixed, so that pictures repeat.
        explained: The share of the variance along each.
    """

    mean: Vectors
    directions: Vectors
    explained: tuple[float, float]

    @classmethod
    def of(cls, vectors: Vectors) -> Plane:
        """Fit the plane to vectors (n, dim)."""
        mean = vectors.mean(axis=0, dtype=np.float64)
        values, directions = np.linalg.svd(vectors - mean, full_matrices=False)[1:]
        directions = directions[:2] * np.sign(directions[np.arange(2), np.abs(directions[:2]).argmax(axis=1)])[:, None]
        shares = np.square(values[:2]) / np.square(values).sum()
        return cls(mean, directions, (float(shares[0]), float(shares[1])))

    def project(self, vectors: Vectors) -> Vectors:
        """Project vectors (n, dim) onto the plane."""
        return np.asarray((vectors - self.mean) @ self.directions.T)

    def name(self, axes: Axes) -> None:
        """Write on both axes how much of the variance they show."""
        labels = [f"component {number + 1} ({share:.1%})" for number, share in enumerate(self.explained)]
        axes.set_xlabel(labels[0], fontsize=8, color=MUTED)
        axes.set_ylabel(labels[1], fontsize=8, color=MUTED)


def convert_test(split: ec.PairSplit, *, epochs: int, seed: int) -> dict[str, Vectors]:
    """Fit both architectures and convert the test part."""
    converted = {}
    for kind in KINDS:
        aligner = ec.fit_neural(split.train, split.validation, kind=kind, preset="fc_aligner", epochs=epochs, seed=seed)
        converted[kind] = aligner.transform(split.test.source.vectors)
    return converted


def draw_scatter(
    test: ec.PairedEmbeddings, converted: dict[str, Vectors], names: tuple[str, str], figure: Figure
) -> None:
    """Draw Figure 3: old vectors in their own principal plane, new and converted ones in that of the new vectors."""
    old, new = test.source.vectors, test.target.vectors
    old_plane, common = Plane.of(old), Plane.of(new)
    panels = {
        f"{names[0]}\n(its own plane)": (old, "old"),
        names[1]: (new, "new"),
        **{f"{names[0]} converted:\n{KINDS[kind]}": (vectors, kind) for kind, vectors in converted.items()},
    }
    rows = np.random.default_rng(0).permutation(len(old))[:SHOWN]
    points = {
        title: (old_plane if role == "old" else common).project(vectors[rows])
        for title, (vectors, role) in panels.items()
    }
    reach = max(float(np.abs(points[title]).max()) for title, (_, role) in panels.items() if role != "old")
    for place, (title, (_, role)) in enumerate(panels.items()):
        axes = figure.add_subplot(1, 4, place + 1)
        axes.scatter(*points[title].T, s=5, color=COLOURS[role], alpha=0.6, linewidths=0)
        limit = 1.08 * (float(np.abs(points[title]).max()) if role == "old" else reach)
        axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
        (old_plane if role == "old" else common).name(axes)
        _finish(axes, title)


def draw_samples(test: ec.PairedEmbeddings, converted: dict[str, Vectors], subjects: int, figure: Figure) -> None:
    """Draw Figure 4: two images a subject, each extracted and converted, connected.

    All panels show the principal plane of the extracted vectors, so an extracted vector has one place in all of them.
    """
    rows = two_images_each(test, subjects)
    extracted = test.target.vectors[rows]
    plane = Plane.of(extracted)
    starts = plane.project(extracted)
    panels = {kind: plane.project(vectors[rows]) for kind, vectors in converted.items()}
    every = np.concatenate([starts, *panels.values()])
    center, reach = (every.max(axis=0) + every.min(axis=0)) / 2, 0.54 * float(np.ptp(every, axis=0).max())
    for place, (kind, ends) in enumerate(panels.items()):
        axes = figure.add_subplot(1, 2, place + 1)
        for number, line in enumerate(np.stack([starts, ends], axis=1)):
            shade = mpl.colormaps["tab10"](number // 2)
            axes.plot(*line.T, color=shade, linewidth=1.2)
            axes.scatter(*line[0], s=34, color=shade, marker="o", zorder=3)
            axes.scatter(*line[1], s=34, facecolors="white", edgecolors=[shade], linewidths=1.4, marker="o", zorder=3)
        axes.set(
            xlim=(center[0] - reach, center[0] + reach), ylim=(center[1] - reach, center[1] + reach), aspect="equal"
        )
        plane.name(axes)
        _finish(axes, KINDS[kind])
    figure.supxlabel(
        "filled: extracted by the new model · hollow: converted from the old one · a line joins one image · "
        "one plane, that of the extracted vectors",
        fontsize=9,
        color=MUTED,
    )


def two_images_each(test: ec.PairedEmbeddings, subjects: int) -> NDArray[np.intp]:
    """Return the rows of two images of each of the first subjects that have two."""
    if test.labels is None:
        raise ValueError("the pairs must have labels")
    order = np.argsort(test.labels.astype(str), kind="stable")
    _, starts, counts = np.unique(test.labels[order].astype(str), return_index=True, return_counts=True)
    first = starts[counts >= 2][:subjects]
    return order[np.stack([first, first + 1], axis=1).ravel()]


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=10, color=INK)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(color=MUTED, linewidth=0.6)


def save(paint: Callable[[Figure], None], path: Path, size: tuple[float, float]) -> list[str]:
    """Draw a figure and write it as PNG and SVG, byte for byte the same each time; return the file names."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({"svg.hashsalt": "embcompat", "svg.fonttype": "none", "font.family": "sans-serif"})
        figure = Figure(figsize=size, dpi=150, layout=None if path.name in ("figure1", "figure2") else "constrained")
        paint(figure)
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
        figure.savefig(path.with_suffix(".png"), metadata={"Software": None})
    return [path.with_suffix(ending).name for ending in (".svg", ".png")]


def load_splits(options: argparse.Namespace) -> dict[str, tuple[ec.PairSplit, tuple[str, str]]]:
    """Return what Figures 3 and 4 show: the pairs, and the names of the two models."""
    subjects = 300 if options.smoke else options.subjects
    pairs = ec.split_pairs(simulated_pairs("11", "46.4", subjects, part="train", seed=options.seed), seed=options.seed)
    splits = {"": (pairs, ("simulated 11", "simulated 46.4"))}
    if options.data is not None:
        faces = load_pairs(options.data, "mfn_a", "mfn_b", normalized=False)
        splits["_lfw"] = ec.split_pairs(faces, seed=options.seed), ("mfn_a", "mfn_b")
    return splits


def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--epochs", type=int, default=15, help="most epochs of a fit")
    parser.add_argument("--subjects", type=int, default=20_000, help="simulated subjects, to fit on and to show")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    files = save(draw_production, options.output / "figure1", (8.4, 4.4))
    files += save(draw_multi_branch, options.output / "figure2", (9.2, 3.4))
    counts = {}
    for suffix, (split, names) in load_splits(options).items():
        converted = convert_test(split, epochs=1 if options.smoke else options.epochs, seed=options.seed)
        scatter = partial(draw_scatter, split.test, converted, names)
        files += save(scatter, options.output / f"figure3{suffix}", (11, 3.2))
        samples = partial(draw_samples, split.test, converted, SUBJECTS)
        files += save(samples, options.output / f"figure4{suffix}", (9, 4.6))
        counts[" → ".join(names)] = {"fitted": len(split.train), "test": len(split.test)}
    write_result(options, "figures", {"files": files, "pairs": counts, "most_epochs": options.epochs})


if __name__ == "__main__":
    main()
