"""A whole upgrade of a text search: what is each way to serve the new model worth?

Real queries with judged answers, three upgrades (the last is none: the new model is worse). The pairs are documents
that answer no query; they are taken out of the gallery, so that every row that is searched is converted and nothing
that was fitted is measured. Two things make text aligners good, and both need no label and no query:

* Fragments: each document of the pairs also gives its pieces of about 16 words as pairs. They resemble queries, and
  tell the aligner more of the domain than the whole alone.
* The pieces carry their document as label. "Of one document?" is then a question of verification: `select_aligner`
  chooses by it, and `reweight` weighs down the directions in which pieces of one document differ.

Where the new model is better, a part of the gallery is embedded with it: at once, or when a query brings a document up.
Native rows then stand beside converted ones, so the aligner is the large kernel without weighting, whose scores are on
nearly the same scale. What is embedded at once is drawn by lot from the whole collection, and serves as the pairs.

    python recipes/text/upgrade_search.py --data DATA --output recipes-out
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from loading import QUICK, Collection, Options, as_estimate, embed, load_collections, read_options, show, write

import embcompat as ec
from embcompat.backfill import replay_lazy
from embcompat.evaluation import FUSED_WEIGHTS, bootstrap_difference, bootstrap_ratio
from embcompat.evaluation.retrieval.lines import Sides
from embcompat.evaluation.retrieval.qrels import match_qrels
from embcompat.selection import Candidate

UPGRADES = (("para_l3", "minilm"), ("static64", "minilm"), ("minilm", "para_l3"))
PAIRS = 2_000
"""Most documents that serve as pairs."""

WORDS = 16
"""Length of a piece."""

LARGE = {"landmarks": 6_000, "penalty": 0.02}
"""A landmark for every pair, and little shrinkage: minutes instead of seconds, for the best text aligner."""

FRACTIONS = 0.05, 0.1, 0.2, 0.5
"""Parts of the collection that the new model embeds; they are the pairs."""

DEPTH = 50
"""Documents that a query brings up."""

CANDIDATES = (
    Candidate("ridge", "ridge"),
    Candidate("ridge, reweighted", "ridge", correction="reweighted"),
    Candidate("kernel", "kernel"),
    Candidate("kernel, reweighted", "kernel", correction="reweighted"),
    Candidate("large kernel", "kernel", LARGE),
    Candidate("large kernel, reweighted", "kernel", LARGE, correction="reweighted"),
)

LINES = ("status_quo", "naive_swap", "converted", "fused", "full_reindex")


def cut(text: str) -> list[str]:
    """Cut a text into pieces of about `WORDS` words; none where it is hardly longer than one."""
    words = np.array(text.split(), dtype=object)
    count = round(len(words) / WORDS)
    return [" ".join(piece) for piece in np.array_split(words, count)] if count > 1 else []


def pair_documents(
    collection: Collection, rows: np.ndarray, models: tuple[str, str], options: Options
) -> ec.PairedEmbeddings:
    """Pair documents and their pieces, labelled by document; so they will be split by document."""
    ids = [list(collection.texts)[row] for row in rows]
    pieces = {f"{item}/{n}": piece for item in ids for n, piece in enumerate(cut(collection.texts[item]))}
    labels = [*ids, *(identifier.rsplit("/", 1)[0] for identifier in pieces)]
    sides = []
    for model in models:
        whole = collection.documents[model].select(rows)
        part = embed(options, model, pieces, f"{collection.name}_{model}_pieces")
        vectors = np.concatenate([whole.vectors, part.vectors])
        sides.append(ec.Embeddings(vectors, [*whole.ids, *part.ids], whole.space, labels))
    return ec.PairedEmbeddings(*sides)


def embed_sides(collection: Collection, without: np.ndarray, old: str, new: str, aligner: ec.Aligner) -> Sides:
    """Return queries and gallery under both models, and as the aligner converts it, without the fitted documents."""
    rows = np.setdiff1d(np.arange(len(collection.texts)), without)
    gallery = {model: collection.documents[model].select(rows) for model in (old, new)}
    converted = ec.convert_embeddings(aligner, gallery[old], gallery[new].space)
    return Sides(collection.queries[old], collection.queries[new], gallery[old], gallery[new], converted)


def evaluate(sides: Sides, qrels: ec.Qrels, seed: int) -> ec.RetrievalReport:
    return ec.evaluate_retrieval(**vars(sides), qrels=qrels, fused_weights=FUSED_WEIGHTS, seed=seed)


def upgrade(collection: Collection, old: str, new: str, options: Options) -> dict:
    """Choose an aligner, convert the gallery, and measure every way to serve it."""
    rows, seed = collection.answers_nothing(seed=options.seed)[:PAIRS], options.seed
    pairs = pair_documents(collection, rows, (old, new), options)
    split = ec.split_pairs(pairs, test=0, seed=seed)
    choice = ec.select_aligner(split.train, split.validation, task="verification", candidates=CANDIDATES, seed=seed)
    sides = embed_sides(collection, rows, old, new, choice.aligner)
    report = evaluate(sides, collection.qrels, seed)
    found = {
        "pairs": {"documents": len(rows), "with_pieces": len(pairs)},
        "aligner": choice.chosen.candidate.name,
        "candidates": [each.to_dict() for each in choice.candidates],
        **report.to_dict(),
        **ec.decide(report).to_dict(),
    }
    if report.gaps:  # the new model is better: what does embedding a part of the gallery with it buy?
        beside_native = ec.fit_aligner("kernel", split.train, split.validation, seed=seed, **LARGE)
        sides = embed_sides(collection, rows, old, new, beside_native)
        found["lazy_backfill"] = serve_lazily(sides, collection.qrels, report, seed)
        found["backfill"] = reembed_partly(collection, old, new, seed)
    return found


def serve_lazily(sides: Sides, qrels: ec.Qrels, report: ec.RetrievalReport, seed: int) -> dict[str, dict]:
    """Embed what a query brings up, and rank it natively; each query is judged once, as it was served."""
    relevance = match_qrels(qrels, sides.old_queries.ids, sides.old_gallery.ids, exclude_self=False)
    nothing = np.zeros(len(sides.old_gallery), dtype=bool)
    before, goal = report.per_query["status_quo"], report.per_query["full_reindex"]
    found = {}
    for name, weight in (("fused", 0.5), ("converted", None)):
        curve = replay_lazy(sides, relevance, nothing, depth=DEPTH, weight=weight, seed=seed)
        found[name] = {
            "value": float(curve.values.mean()),
            "difference": bootstrap_difference(curve.values, before, seed=seed).to_dict(),
            "gap": bootstrap_ratio(curve.values - before, goal - before, seed=seed).to_dict(),
            "curve": curve.to_dict(),
        }
    return found


def reembed_partly(collection: Collection, old: str, new: str, seed: int) -> dict[str, dict]:
    """Re-embed documents drawn by lot, and convert the others by an aligner that was fitted on nothing else.

    The budget is the only pairs there are: they are served native, in the whole collection.
    """
    count, found = len(collection.texts), {}
    for fraction in FRACTIONS:
        rows = np.random.default_rng(seed).permutation(count)[: round(fraction * count)]
        pairs = ec.pair_embeddings(*(collection.documents[model].select(rows) for model in (old, new)))
        split = ec.split_pairs(pairs, test=0, seed=seed)
        aligner = ec.fit_aligner("kernel", split.train, split.validation, seed=seed, **LARGE)
        sides = embed_sides(collection, rows[:0], old, new, aligner)
        mixed = sides.converted.vectors.copy()
        mixed[rows] = sides.new_gallery.vectors[rows]
        served = ec.Embeddings(mixed, sides.converted.ids, sides.converted.space)
        report = evaluate(replace(sides, converted=served), collection.qrels, seed).to_dict()
        found[f"{100 * fraction:.0f} %"] = {
            line: {"value": report[line], **{name: report[name].get(line) for name in ("differences", "gaps")}}
            for line in ("converted", "fused")
        }
    return found


def show_upgrade(name: str, result: Mapping) -> None:
    def row(what: str, value: float, difference: Mapping | None, closed: Mapping | None) -> tuple[str, ...]:
        return what, f"{value:.3f}", as_estimate(difference), as_estimate(closed, "+.2f")

    rows = [
        row(line.replace("_", " "), result[line], result["differences"].get(line), result["gaps"].get(line))
        for line in LINES
        if result[line] is not None
    ]
    rows += [row(f"+ {part}", *found["fused"].values()) for part, found in result.get("backfill", {}).items()]
    rows += [
        row(f"lazy, {search}", found["value"], found["difference"], found["gap"])
        for search, found in result.get("lazy_backfill", {}).items()
    ]
    title = f"{name}: {result['gallery_size']:,} documents, {result['queries']} queries, {result['aligner']}"
    show(title, ("", "nDCG@10", "against today (95 %)", "gap closed (95 %)"), rows)
    kept = ", ".join(
        f"{part['gallery_size']:,}: {part['retentions']['fused']['value']:.0%}" for part in result["retention_by_size"]
    )
    print(f"of a full reindex fused keeps, by size of the gallery: {kept}\n{result['decision']}: {result['reason']}")


def main() -> None:
    options = read_options(__doc__)
    upgrades = (QUICK,) if options.smoke else UPGRADES
    found = {}
    for collection in load_collections(options, sorted({model for pair in upgrades for model in pair})):
        for old, new in upgrades:
            name = f"{old} → {new}, {collection.name}"
            found[name] = upgrade(collection, old, new, options)
            show_upgrade(name, found[name])
            write(options, "upgrade_search", {"metric": "ndcg@10", "upgrades": found})


if __name__ == "__main__":
    main()
