"""Successors from the same family: a quantised copy, a fine-tuned one, and for comparison a model of another family.

A successor so near that the old gallery can simply be searched with it needs no aligner; one that is worse on your
own queries needs no migration at all. Both are found with the same evaluation as any other upgrade, and a naive swap
between two families shows what happens to whoever takes the same number of dimensions for the same space.

    python recipes/text/same_family.py --data DATA --output recipes-out
"""

from __future__ import annotations

import numpy as np
from loading import Collection, Options, load_collections, read_options, show, write

import embcompat as ec
from embcompat.evaluation import bootstrap_ratio

OLD = "minilm"
SUCCESSORS = ("minilm_int8", "sre", "para_l3")
"""An int8 copy, the same model fine-tuned on incident reports, and another family with as many dimensions."""

QUICK_MODELS = "para_l3", ("para_l3", "static64")

PAIRS = 2_000
NO_ALIGNER = 0.98
"""A naive swap that keeps this share of a full reindex, by the lower end of its interval, needs no aligner."""


def judge(collection: Collection, old: str, new: str, options: Options) -> dict:
    documents, queries = collection.documents, collection.queries
    chosen = collection.answers_nothing(seed=options.seed)[:PAIRS]
    pairs = ec.pair_embeddings(documents[old].select(chosen), documents[new].select(chosen))
    split = ec.split_pairs(pairs, test=0, seed=options.seed)
    aligner = ec.fit_aligner("kernel", split.train, split.validation, seed=options.seed)
    report = ec.evaluate_retrieval(
        old_queries=queries[old],
        new_queries=queries[new],
        old_gallery=documents[old],
        new_gallery=documents[new],
        converted=ec.convert_embeddings(aligner, documents[old], documents[new].space),
        qrels=collection.qrels,
        native_ids=set(pairs.ids),
        seed=options.seed,
    )
    lines = {line: estimate.to_dict() for line, estimate in report.lines.items()}
    decision = ec.decide(report)
    worse = report.differences["full_reindex"].high < 0
    if "naive_swap" not in lines:
        return {**lines, "verdict": decision.mode, "reason": decision.reason}
    swap = bootstrap_ratio(report.per_query["naive_swap"], report.per_query["full_reindex"], seed=options.seed)
    return {
        **lines,
        "naive_swap_retention": swap.to_dict(),
        "mean_cosine": float(np.sum(documents[old].vectors * documents[new].vectors, axis=1).mean()),
        "verdict": "no aligner needed" if swap.low >= NO_ALIGNER and not worse else decision.mode,
        "reason": decision.reason,
    }


def main() -> None:
    options = read_options(__doc__)
    old, successors = QUICK_MODELS if options.smoke else (OLD, SUCCESSORS)
    collection = load_collections(options, sorted({old, *successors}), ("cranfield",))[0]
    figures = {new: judge(collection, old, new, options) for new in successors}
    lines = ("status_quo", "naive_swap", "converted", "full_reindex")
    show(
        f"{collection.name}, nDCG@10: successors of {old}",
        ("new model", "today", "naive swap", "converted", "reindex", "verdict"),
        [
            (new, *(f"{result[line]['value']:.3f}" if line in result else "" for line in lines), result["verdict"])
            for new, result in figures.items()
        ],
    )
    for new, result in figures.items():
        print(f"{new}: {result['reason']}")
    write(options, "same_family", {"collection": collection.name, "old": old, "successors": figures})


if __name__ == "__main__":
    main()
