"""Re-embed everything, or align? Time, compute and storage of both, measured here, and at the paper's prices.

Re-embedding is measured on real models: dlib's face model on a photograph, and, where its package is installed, a
sentence model on short texts. Aligning is measured on the paper's Dense: fitting a given number of pairs, converting.
Prices are parameters. The paper reports 20 million faces: five days of backfilling against eight hours of training and
three hours of converting, "11× faster, 2.5× cheaper"; backfilling raised its storage bill by 287.5 % and its compute
bill by 67.32 %.

    python recipes/face/migration_cost.py --output recipes-out --items 20000000 --price-per-hour 0.1
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from lfw import stand_in_pairs
from recipe import make_parser, write_result

import embcompat as ec
from embcompat.errors import EmbcompatError

DIM, VECTOR_BYTES = 128, 128 * 4
PAPER = {
    "items": 20_000_000,
    "backfill_hours": 5 * 24.0,
    "training_hours": 8.0,
    "converting_hours": 3.0,
    "converting_onnx_hours": 55 / 60,
    "storage_increase": 2.875,
    "compute_increase": 0.6732,
    "times_faster": 11.0,
    "times_cheaper": 2.5,
}


def time_extractor(name: str, items: Sequence[Any], *, seconds: float) -> dict[str, Any]:
    """Embed the items over and over for some time; return the rate, or why it was not measured."""
    try:
        extractor = ec.load_extractor(name)
        extractor.extract(list(items))
    except EmbcompatError as error:
        return {"not_run": f"{error}".split(". ")[0]}
    count, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds or count == 0:
        extractor.extract(list(items))
        count += len(items)
    return {"model": extractor.space.id, "items": count, "seconds": spent, "items_per_second": count / spent}


def photographs() -> list[np.ndarray]:
    """One face three times: as it is, mirrored, darker (NASA's portrait of Eileen Collins, public domain)."""
    if find_spec("skimage") is None:
        return []
    from skimage.data import astronaut

    face = np.asarray(astronaut())[:256, 96:352]
    return [face, np.ascontiguousarray(face[:, ::-1]), face // 2]


def time_aligner(*, pairs: int, epochs: int, seed: int) -> dict[str, float]:
    """Fit the paper's Dense for some epochs and convert; return seconds a pair and epoch, and vectors a second."""
    split = ec.split_pairs(stand_in_pairs(subjects=pairs // 4, normalized=False, seed=seed), test=0, seed=seed)
    start = time.perf_counter()
    aligner = ec.fit_aligner("dense", split.train, split.validation, seed=seed, epochs=epochs)
    spent = time.perf_counter() - start
    if isinstance(aligner, ec.AlignerPair):
        raise TypeError("dense fits a single aligner")
    rows = np.random.default_rng(seed).standard_normal((65_536, DIM), dtype=np.float32)
    start = time.perf_counter()
    aligner.transform(rows)
    rate = len(rows) / (time.perf_counter() - start)
    return {"seconds_per_pair_and_epoch": spent / epochs / len(split.train), "vectors_per_second": rate}


def estimate(options: argparse.Namespace, items_per_second: float, aligner: dict[str, float]) -> dict[str, Any]:
    """Compare both ways for a gallery, at the given prices."""
    training = aligner["seconds_per_pair_and_epoch"] * options.pairs * options.epochs
    embedding_pairs = options.pairs / items_per_second
    hours = {
        "backfill": options.items / items_per_second / 3_600,
        "align": (embedding_pairs + training + options.items / aligner["vectors_per_second"]) / 3_600,
    }
    stored = {
        # Backfilling reads every original again and keeps the old vectors until the new ones serve; so does aligning.
        "backfill": options.items * (options.item_bytes + 2 * VECTOR_BYTES),
        "align": options.pairs * options.item_bytes + 2 * options.items * VECTOR_BYTES,
    }
    month = options.price_per_gigabyte_month / 1e9
    cost = {way: hours[way] * options.price_per_hour + stored[way] * month for way in hours}
    return {
        "hours": hours,
        "bytes": stored,
        "cost": cost,
        "times_faster": hours["backfill"] / hours["align"],
        "times_cheaper": cost["backfill"] / cost["align"],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--items", type=int, default=PAPER["items"], help="size of the gallery")
    parser.add_argument(
        "--pairs", type=int, default=120_000, help="pairs to fit on; each is embedded with the new model"
    )
    parser.add_argument("--epochs", type=int, default=100, help="epochs of the fit")
    parser.add_argument("--price-per-hour", type=float, default=0.10, help="price of this machine for an hour")
    parser.add_argument("--price-per-gigabyte-month", type=float, default=0.023, help="price of storage")
    parser.add_argument("--item-bytes", type=int, default=20_000, help="bytes of an original, for instance a face crop")
    options = parser.parse_args(arguments)
    seconds = 0.5 if options.smoke else 20.0
    texts = [f"{number} ways to compare the vectors of two models" for number in range(32)]
    models = {"dlib": photographs()} | ({} if options.smoke else {"minilm": texts})
    extractors = {name: time_extractor(name, items, seconds=seconds) for name, items in models.items() if items}
    aligner = time_aligner(pairs=800 if options.smoke else 20_000, epochs=1 if options.smoke else 3, seed=options.seed)
    print(f"aligner: {aligner['vectors_per_second']:,.0f} vectors a second")
    galleries = {}
    for name, speed in extractors.items():
        if "not_run" in speed:
            print(f"{name}: not run: {speed['not_run']}")
            continue
        galleries[name] = costs = estimate(options, speed["items_per_second"], aligner)
        print(f"{name}: {speed['items_per_second']:.1f} items a second; {options.items:,} items, ", end="")
        print(f"{options.price_per_hour} an hour, {options.price_per_gigabyte_month} a GB and month:")
        for way in ("backfill", "align"):
            print(f"  {way:9s} {costs['hours'][way]:10,.1f} h  {costs['bytes'][way] / 1e9:8,.1f} GB", end="")
            print(f"  {costs['cost'][way]:10,.2f}")
        print(f"  {costs['times_faster']:.1f}× faster (paper 11×), {costs['times_cheaper']:.1f}× cheaper (paper 2.5×)")
    names = ("items", "pairs", "epochs", "price_per_hour", "price_per_gigabyte_month", "item_bytes")
    prices = {name: getattr(options, name) for name in names}
    figures = {"paper": PAPER, "given": prices, "extractors": extractors, "aligner": aligner, "galleries": galleries}
    write_result(options, "migration_cost", figures)


if __name__ == "__main__":
    main()
