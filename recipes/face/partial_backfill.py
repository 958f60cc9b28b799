"""Which faces to re-embed first? The order of λ-orthogonality against a random one and others.

The gallery holds converted vectors; an item that is re-embedded becomes what the new model gives. The paper's order
takes the vectors farthest from the mean of their class first (Ricci et al., NeurIPS 2025), and sums the curve up as its
mean over equally spaced shares. Judged by verification on people that were not fitted: true accepts at a fixed false
accept rate. Two ways of converting: our reweighted kernel aligner, and the paper's own pair of maps, where the gallery
holds F(old), what is re-embedded becomes B(new), and probes are B(new).

    python recipes/face/partial_backfill.py --data DATA --output recipes-out
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lfw import MODEL_PAIRS, load_pairs, stand_in_pairs
from recipe import make_parser, write_result

import embcompat as ec
from embcompat.aligners import fit_kernel, reweight, shared_space
from embcompat.backfill import Backlog, HeldOut, VerificationTask, backfill_curve

ORDERS = ("random", "class_mean", "predicted_error", "recommended")

PAPER = {"FCT, random": 73.86, "FastFill": 75.06, "λ-orthogonality, farthest from the class mean": 76.59}
"""ImageNet, ResNet-18 → ViT-L: AUC of CMC-Top1 in per cent."""


def shared_parts(pair: ec.AlignerPair, split: ec.PairSplit) -> dict[str, ec.PairedEmbeddings]:
    """Return each part as (old, B(new))."""
    space = shared_space(split.train.source.space, split.train.target.space, pair, method="bidirectional")
    mapped = {}
    for name, part in split.parts().items():
        mapped[name] = ec.PairedEmbeddings(part.source, ec.convert_embeddings(pair.backward_map, part.target, space))
    return mapped


def measure(
    aligner: ec.Aligner, parts: dict[str, ec.PairedEmbeddings], *, far: float, steps: int, seed: int
) -> dict[str, Any]:
    """Measure every order on the test people; the fitted people count as re-embedded."""
    validation, test = parts["validation"], parts["test"]

    def convert(pairs: ec.PairedEmbeddings) -> ec.Embeddings:
        return ec.convert_embeddings(aligner, pairs.source, pairs.target.space)

    held_out = HeldOut(validation.source, convert(validation), validation.target)
    curve = backfill_curve(
        Backlog(test.source, convert(test), held_out=held_out, seed=seed),
        test.target,
        VerificationTask(far=far),
        fitted_elsewhere=len(parts["train"]) + len(validation),
        orders=ORDERS,
        steps=steps,
    )
    return dict(curve.to_dict())


def show(name: str, curves: dict[str, Any]) -> None:
    print(f"\n{name}: {curves['metric']}, {curves['judged']} people; status quo {curves['status_quo']:.3f}, ", end="")
    print(f"full reindex {curves['full_reindex']:.3f}")
    for order, curve in curves["orders"].items():
        low, high = curve["auc_interval"]
        points = " ".join(f"{value:.3f}" for value in curve["metric"][::2])
        print(f"  {order:16s} AUC {curve['auc']:.4f} ({low:.4f} to {high:.4f})  {points}")


def show_beside(curves: dict[str, Any]) -> None:
    """Print the areas under the paper's curves and ours: another metric on other data, so compare the gains alone."""
    print("\nArea under the curve in per cent, random and farthest from the class mean, and the gain:")
    random, ordered = PAPER["FCT, random"], PAPER["λ-orthogonality, farthest from the class mean"]
    rows = {"the paper, ImageNet, ResNet-18 → ViT-L, CMC-Top1": (random, ordered)}
    rows |= {
        name: (100 * result["orders"]["random"]["auc"], 100 * result["orders"]["class_mean"]["auc"])
        for name, result in curves.items()
    }
    for name, (first, second) in rows.items():
        print(f"  {name:50s} {first:.2f}  {second:.2f}  {second - first:+.2f}")
    print(f"  the paper, FastFill {PAPER['FastFill']:.2f}")


def main(arguments: Sequence[str] | None = None) -> None:
    options = make_parser(__doc__).parse_args(arguments)
    steps, far, epochs = (3, 0.1, 1) if options.smoke else (11, 1e-4, 30)
    curves: dict[str, Any] = {}
    for old, new in MODEL_PAIRS[:1] if options.smoke else MODEL_PAIRS:
        upgrade = f"{old} → {new}" if options.data else "stand-in"
        pairs = load_pairs(options.data, old, new) if options.data else stand_in_pairs(seed=options.seed)
        split = ec.split_pairs(pairs, test=0.3, seed=options.seed)
        kernel = fit_kernel(split.train, split.validation, seed=options.seed)
        ours = reweight(kernel, split.validation, labelled=split.train.target)
        maps = ec.fit_bidirectional(split.train, split.validation, seed=options.seed, epochs=epochs)
        ways = {"kernel, reweighted": (ours, split.parts()), "F and B": (maps.forward_map, shared_parts(maps, split))}
        for way, (aligner, parts) in ways.items():
            name = f"{upgrade}, {way}"
            curves[name] = measure(aligner, parts, far=far, steps=steps, seed=options.seed)
            show(name, curves[name])
    show_beside(curves)
    write_result(options, "partial_backfill", {"paper": PAPER, "curves": curves})


if __name__ == "__main__":
    main()
