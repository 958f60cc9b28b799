"""A whole upgrade of a text search: what is each way to serve the new model worth?

Real queries with judged answers, three upgrades (the last is none: the new model is worse). The pairs are documents
that answer no query; they are taken out of the gallery, so that every row that is searched is converted and nothing
that was fitted is measured. The pairs hold the pieces of these documents as well (`embcompat embed --pieces`): pieces
resemble queries, and tell the aligner more of the domain than the whole text alone. `ec.select_aligner` chooses the
aligner as `embcompat fit` does, and `ec.evaluate_upgrade` gives the figures and the verdict, lazy backfill included.

One way is measured beside it: a part of the collection, drawn at random, is embedded at once, and is all that the
aligner is fitted on.

    python recipes/text/upgrade_search.py --data DATA --output recipes-out
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from loading import QUICK, Collection, Options, as_estimate, embed, load_collections, read_options, show, write

import embcompat as ec
from embcompat.embeddings import cut_texts
from embcompat.evaluation import FUSED_WEIGHTS, bootstrap_difference, bootstrap_ratio
from embcompat.evaluation.retrieval.lines import Sides

UPGRADES = (("para_l3", "minilm"), ("static64", "minilm"), ("minilm", "para_l3"))
PAIRS = 2_000
"""Most documents that serve as pairs."""

LARGE = {"landmarks": 6_000, "penalty": 0.02}
"""A landmark for every pair, and little shrinkage: its scores are on nearly the same scale as those of native rows."""

FRACTIONS = 0.05, 0.1, 0.2, 0.5
"""Parts of the collection that the new model embeds at once; they are the pairs."""

LINES = ("status_quo", "naive_swap", "converted", "fused", "full_reindex")


def pair_documents(
    collection: Collection, rows: np.ndarray, models: tuple[str, str], options: Options
) -> ec.PairedEmbeddings:
    """Pair documents and their pieces, labelled by document, so that they are split by document."""
    ids = [list(collection.texts)[row] for row in rows]
    cut = cut_texts([collection.texts[item] for item in ids], ids)
    pieces = dict(zip(cut.ids[len(ids) :], cut.items[len(ids) :], strict=True))
    sides = []
    for model in models:
        whole = collection.documents[model].select(rows)
        part = embed(options, model, pieces, f"{collection.name}_{model}_pieces")
        vectors = np.concatenate([whole.vectors, part.vectors])
        sides.append(ec.Embeddings(vectors, cut.ids, whole.space, cut.labels))
    return ec.PairedEmbeddings(*sides)


def upgrade(collection: Collection, old: str, new: str, options: Options) -> dict:
    """Choose an aligner, and judge the upgrade on the documents that it was not fitted on."""
    rows, seed = collection.answers_nothing(seed=options.seed)[:PAIRS], options.seed
    pairs = pair_documents(collection, rows, (old, new), options)
    split = ec.split_pairs(pairs, test=0, seed=seed)
    choice = ec.select_aligner(split.train, split.validation, seed=seed)
    others = np.setdiff1d(np.arange(len(collection.texts)), rows)
    evaluation = ec.evaluate_upgrade(
        choice.aligner,
        old_gallery=collection.documents[old].select(others),
        new_gallery=collection.documents[new].select(others),
        old_queries=collection.queries[old],
        new_queries=collection.queries[new],
        qrels=collection.qrels,
        fitted_ids=pairs.ids.tolist(),
        seed=seed,
    )
    result = {
        "pairs": {"documents": len(rows), "with_pieces": len(pairs)},
        "aligner": choice.chosen.name,
        "candidates": [each.to_dict() for each in choice.candidates],
        **evaluation.to_dict(),
    }
    if result["gaps"]:  # the new model is better: how much of the gap does a part of a reindex close?
        result["lazy"] = close_lazily(evaluation, seed)
        result["at_once"] = embed_at_once(collection, old, new, seed)
    return result


def close_lazily(evaluation: ec.Evaluation, seed: int) -> dict[str, dict]:
    """Say what share of the gap lazy backfill closes, searched fused and not; each query is judged as it was served."""
    report = evaluation.report
    status_quo, goal = report.per_query["status_quo"], report.per_query["full_reindex"]
    return {
        search: {
            "value": float(curve.values.mean()),
            "difference": bootstrap_difference(curve.values, status_quo, seed=seed).to_dict(),
            "gap": bootstrap_ratio(curve.values - status_quo, goal - status_quo, seed=seed).to_dict(),
            "native_fraction": float(curve.native_fraction()[-1]),
        }
        for search, curve in zip(("converted", "fused"), evaluation.modes.curves[:2], strict=True)  # at full depth
    }


def embed_at_once(collection: Collection, old: str, new: str, seed: int) -> dict[str, dict]:
    """Embed random documents, and convert the others with an aligner that was fitted on nothing else.

    What is embedded is served native, in the whole collection, and every query judges.
    """
    result = {}
    count, queries = len(collection.texts), [collection.queries[model] for model in (old, new)]
    galleries = [collection.documents[model] for model in (old, new)]
    for fraction in FRACTIONS:
        rows = np.random.default_rng(seed).permutation(count)[: round(fraction * count)]
        split = ec.split_pairs(ec.pair_embeddings(*(side.select(rows) for side in galleries)), test=0, seed=seed)
        aligner = ec.fit_aligner("kernel", split.train, split.validation, seed=seed, **LARGE)
        converted = ec.convert_embeddings(aligner, galleries[0], galleries[1].space)
        mixed = converted.vectors.copy()
        mixed[rows] = galleries[1].vectors[rows]
        sides = Sides(*queries, *galleries, ec.Embeddings(mixed, converted.ids, converted.space))
        report = ec.evaluate_retrieval(
            **vars(sides), qrels=collection.qrels, fused_weights=FUSED_WEIGHTS, seed=seed
        ).to_dict()
        result[f"{100 * fraction:.0f} %"] = {
            line: {"value": report[line], **{name: report[name].get(line) for name in ("differences", "gaps")}}
            for line in ("converted", "fused")
        }
    return result


def show_upgrade(name: str, result: Mapping) -> None:
    def row(what: str, value: float, difference: Mapping | None, closed: Mapping | None) -> tuple[str, ...]:
        return what, f"{value:.3f}", as_estimate(difference), as_estimate(closed, "+.2f")

    rows = [
        row(line.replace("_", " "), result[line], result["differences"].get(line), result["gaps"].get(line))
        for line in LINES
        if result[line] is not None
    ]
    rows += [row(f"+ {part}", *each["fused"].values()) for part, each in result.get("at_once", {}).items()]
    rows += [
        row(f"lazy, {search}", each["value"], each["difference"], each["gap"])
        for search, each in result.get("lazy", {}).items()
    ]
    title = f"{name}: {result['gallery_size']:,} documents, {result['queries']} queries, {result['aligner']}"
    show(title, ("", "nDCG@10", "against today (95 %)", "gap closed (95 %)"), rows)
    shares = ", ".join(
        f"{part['gallery_size']:,}: {part['retentions']['fused']['value']:.0%}" for part in result["retention_by_size"]
    )
    print(f"of a full reindex fused keeps, by size of the gallery: {shares}\n{result['decision']}: {result['reason']}")


def main() -> None:
    options = read_options(__doc__)
    upgrades = (QUICK,) if options.smoke else UPGRADES
    results = {}
    for collection in load_collections(options, sorted({model for pair in upgrades for model in pair})):
        for old, new in upgrades:
            name = f"{old} → {new}, {collection.name}"
            results[name] = upgrade(collection, old, new, options)
            show_upgrade(name, results[name])
            write(options, "upgrade_search", {"metric": "ndcg@10", "upgrades": results})


if __name__ == "__main__":
    main()
