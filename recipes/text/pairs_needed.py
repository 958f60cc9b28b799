"""How many pairs are enough? Learning curves of three aligners, on nested parts of one collection.

The score is the share of a document's ten nearest native neighbours that its converted vector finds, on documents
that were not fitted. A curve that has gone flat says that more pairs are wasted, and which aligner uses them best.

    python recipes/text/pairs_needed.py --data DATA --output recipes-out
"""

from __future__ import annotations

from loading import QUICK, load_collections, read_options, show, write

import embcompat as ec

UPGRADE = ("para_l3", "minilm")
KINDS = ("ridge", "kernel", "residual")


def main() -> None:
    options = read_options(__doc__)
    old, new = QUICK if options.smoke else UPGRADE
    kinds = KINDS[:2] if options.smoke else KINDS
    collection = load_collections(options, (old, new), ("npl",))[0]
    pairs = ec.pair_embeddings(collection.documents[old], collection.documents[new])
    split = ec.split_pairs(pairs, validation=0.1, test=0, seed=options.seed)
    curves = [ec.learning_curve(kind, split.train, split.validation, seed=options.seed) for kind in kinds]

    show(
        f"{collection.name}, {old} → {new}: share of native neighbours found, on {len(split.validation):,} documents",
        ("pairs", *kinds),
        [
            (f"{pairs:,}", *(f"{curve.values[row].value:.3f}" for curve in curves))
            for row, pairs in enumerate(curves[0].pairs)
        ],
    )
    for curve in curves:
        print(f"{curve.aligner}: {curve.verdict}")
    figures = {curve.aligner: curve.to_dict() for curve in curves}
    write(options, "pairs_needed", {"collection": collection.name, "old": old, "new": new, "curves": figures})


if __name__ == "__main__":
    main()
