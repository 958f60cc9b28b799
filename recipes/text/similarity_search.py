"""Items like this one: does a converted gallery still find texts of the same kind?

The items are customers' questions, and those with the same intent count as similar (Banking77). A part of the gallery
serves as pairs, without labels; the queries are texts that no fit has seen. Fitted items are left out of every ranking
that they would count in.

    python recipes/text/similarity_search.py --data DATA --output recipes-out
"""

from __future__ import annotations

import numpy as np
from loading import QUICK, as_estimate, load_labelled, read_options, show, without_labels, write

import embcompat as ec
from embcompat.evaluation import FUSED_WEIGHTS

UPGRADES = (("para_l3", "minilm"), ("static64", "minilm"), ("minilm", "para_l3"))
METRICS = ("cmc@1", "recall@100", "map")
QUERIES, PAIRS = 0.2, 0.2
"""Parts of the texts that serve as queries, and of the others as pairs."""


def upgrade(old: ec.Embeddings, new: ec.Embeddings, *, seed: int) -> dict:
    """Upgrade from one model to another, and measure it."""
    order = np.random.default_rng(seed).permutation(len(old))
    queries, gallery = np.split(order, [round(QUERIES * len(old))])
    chosen = gallery[: round(PAIRS * len(gallery))]
    pairs = ec.pair_embeddings(*(without_labels(side.select(chosen)) for side in (old, new)))
    split = ec.split_pairs(pairs, test=0, seed=seed)
    choice = ec.select_aligner(split.train, split.validation, seed=seed)
    old_gallery, new_gallery = old.select(gallery), new.select(gallery)
    report = ec.evaluate_retrieval(
        old_queries=old.select(queries),
        new_queries=new.select(queries),
        old_gallery=old_gallery,
        new_gallery=new_gallery,
        converted=ec.convert_embeddings(choice.aligner, old_gallery, new.space),
        qrels=ec.Qrels.from_labels(old.select(queries), old_gallery),
        native_ids=set(split.train.ids) | set(split.validation.ids),
        metric="map",
        metrics=METRICS,
        fused_weights=FUSED_WEIGHTS,
        seed=seed,
    )
    return {
        "aligner": choice.chosen.name,
        "candidates": [each.to_dict() for each in choice.candidates],
        **report.to_dict(),
        **ec.decide(report).to_dict(),
    }


def main() -> None:
    options = read_options(__doc__)
    upgrades = (QUICK,) if options.smoke else UPGRADES
    sides = load_labelled(options, sorted({model for pair in upgrades for model in pair}))
    figures = {}
    for old, new in upgrades:
        result = figures[f"{old} → {new}"] = upgrade(sides[old], sides[new], seed=options.seed)
        lines = result["metrics"]["map"]
        show(
            f"{old} → {new}, {result['gallery_size']:,} texts, {result['aligner']}: {result['decision']}",
            ("", *METRICS, "map against today (95 %)"),
            [
                (
                    line.replace("_", " "),
                    *(f"{result['metrics'][metric][line]['value']:.3f}" for metric in METRICS),
                    as_estimate(result["differences"].get(line)),
                )
                for line in lines
            ],
        )
    write(options, "similarity_search", {"upgrades": figures})


if __name__ == "__main__":
    main()
