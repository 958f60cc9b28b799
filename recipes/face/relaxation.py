"""The relaxation effect in two dimensions: what a map may do to a space when it must stay orthogonal, or nearly."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

import embcompat as ec

CLASSES, POINTS = 5, 40
PANELS = {"affine": math.inf, "orthogonal": "strict", "λ-orthogonal": 0.5}


def make_points(seed: int) -> ec.PairedEmbeddings:
    """Make five classes in the plane: the old space is the new one turned, sheared and stretched, with noise."""
    rng = np.random.default_rng(seed)
    angles = np.repeat(np.linspace(0, 2 * np.pi, CLASSES, endpoint=False), POINTS)
    new = np.stack([np.cos(angles), np.sin(angles)], axis=1) + 0.12 * rng.standard_normal((len(angles), 2))
    turn, shear = np.array([[0.5, -0.87], [0.87, 0.5]]), np.array([[1.5, 0.6], [0.0, 0.6]])
    old = new @ (turn @ shear).T + 0.1 * rng.standard_normal(new.shape)
    ids = [str(row) for row in range(len(angles))]
    labels = [str(row // POINTS) for row in range(len(angles))]
    spaces = [ec.SpaceVersion(name=name, version="2d", dim=2, similarity="euclidean") for name in ("old", "new")]
    sides = zip((old, new), spaces, strict=True)
    return ec.PairedEmbeddings(*(ec.Embeddings(side.astype(np.float32), ids, space, labels) for side, space in sides))


def draw_relaxation(folder: Path, *, epochs: int, seed: int) -> dict[str, Any]:
    """Draw the source (new), the target (old), and the source mapped to the target in three ways, as PNG and SVG.

    Returns:
        For each map its distance from orthogonality, ‖W Wᵀ − I‖_F, and the mean distance from the target that is left.
    """
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    pairs = make_points(seed)
    new, old = pairs.target.vectors, pairs.source.vectors
    panels, figures = {"source: the new space": new, "target: the old space": old}, {}
    for name, lam in PANELS.items():
        chosen: dict[str, Any] = {"backward": "orthogonal"} if lam == "strict" else {"lam": lam}
        maps = ec.fit_bidirectional(
            pairs, pairs, **chosen, loss_weights=(0.0, 1.0, 0.0), learning_rate=0.02, epochs=epochs, seed=seed
        )
        mapped, matrix = maps.backward_map.transform(new), maps.backward_map.state()["weight"].astype(np.float64)
        panels[name] = mapped
        left = float(np.linalg.norm(mapped - old, axis=1).mean())
        figures[name] = {"deviation": float(np.linalg.norm(matrix @ matrix.T - np.eye(2))), "distance_left": left}
    with mpl.rc_context({"svg.hashsalt": "embcompat", "font.size": 9}):
        drawing, axes = plt.subplots(1, len(panels), figsize=(2.4 * len(panels), 2.5), sharex=True, sharey=True)
        for axis, (name, points) in zip(axes, panels.items(), strict=True):
            axis.scatter(old[:, 0], old[:, 1], s=4, color="0.85")
            axis.scatter(points[:, 0], points[:, 1], s=6, c=np.repeat(np.arange(CLASSES), POINTS), cmap="tab10")
            axis.set_title(name)
            axis.set_aspect("equal")
        drawing.tight_layout()
        drawing.savefig(folder / "relaxation.png", dpi=150, metadata={"Software": None})
        drawing.savefig(folder / "relaxation.svg", metadata={"Date": None})
        plt.close(drawing)
    return figures
