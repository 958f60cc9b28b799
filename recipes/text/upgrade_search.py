"""A whole upgrade of a text search: what is each way to serve the new model worth?

Real queries with judged answers, three upgrades (the last is none: the new model is worse). The pairs are documents
that answer no query; they are taken out of the gallery, so that every row that is searched is converted and nothing
that was fitted is measured. Two things make text aligners good, and both need no label and no query:

* Fragments: each document of the pairs also gives its pieces of about 16 words as pairs. They resemble queries, and
  tell the aligner more of the domain than the whole alone.
* The pieces carry their document as label. "Of one document?" is then a question of verification: `select_aligner`
  chooses by it, and `reweight` weighs down the directions in which pieces of one document differ.

    python recipes/text/upgrade_search.py --data DATA --output recipes-out
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from loading import QUICK, Collection, Options, as_estimate, embed, load_collections, read_options, show, write

import embcompat as ec
from embcompat.evaluation import FUSED_WEIGHTS
from embcompat.selection import Candidate, Selection

UPGRADES = (("para_l3", "minilm"), ("static64", "minilm"), ("minilm", "para_l3"))
PAIRS = 2_000
WORDS = 16
LARGE = {"landmarks": 6_000, "penalty": 0.02}

CANDIDATES = (
    Candidate("ridge", "ridge"),
    Candidate("ridge, reweighted", "ridge", reweighted=True),
    Candidate("kernel", "kernel"),
    Candidate("kernel, reweighted", "kernel", reweighted=True),
    Candidate("large kernel", "kernel", LARGE),
    Candidate("large kernel, reweighted", "kernel", LARGE, reweighted=True),
)

LINES = ("status_quo", "naive_swap", "converted", "fused", "full_reindex")


@dataclass(frozen=True)
class Sides:
    """Queries and gallery under both models."""

    old_queries: ec.Embeddings
    new_queries: ec.Embeddings
    old: ec.Embeddings
    new: ec.Embeddings


def cut(text: str) -> list[str]:
    """Cut a text into pieces of about `WORDS` words; none where it is hardly longer than one."""
    words = np.array(text.split(), dtype=object)
    count = round(len(words) / WORDS)
    return [" ".join(piece) for piece in np.array_split(words, count)] if count > 1 else []


def pair_documents(collection: Collection, rows: np.ndarray, models: tuple[str, str], options: Options) -> ec.PairSplit:
    """Pair documents and their pieces, labelled by document, and split them by document."""
    ids = [list(collection.texts)[row] for row in rows]
    pieces = {f"{item}/{n}": piece for item in ids for n, piece in enumerate(cut(collection.texts[item]))}
    labels = [*ids, *(identifier.rsplit("/", 1)[0] for identifier in pieces)]
    sides = []
    for model in models:
        whole = collection.documents[model].select(rows)
        part = embed(options, model, pieces, f"{collection.name}_{model}_pieces")
        vectors = np.concatenate([whole.vectors, part.vectors])
        sides.append(ec.Embeddings(vectors, [*whole.ids, *part.ids], whole.space, labels))
    return ec.split_pairs(ec.PairedEmbeddings(*sides), test=0, seed=options.seed)


def evaluate(sides: Sides, converted: ec.Embeddings, qrels: ec.Qrels, seed: int) -> ec.RetrievalReport:
    return ec.evaluate_retrieval(
        old_queries=sides.old_queries,
        new_queries=sides.new_queries,
        old_gallery=sides.old,
        new_gallery=sides.new,
        converted=converted,
        qrels=qrels,
        fused_weights=FUSED_WEIGHTS,
        seed=seed,
    )


def upgrade(collection: Collection, old: str, new: str, options: Options) -> dict:
    """Choose an aligner, convert the gallery, and measure every way to serve it."""
    free = collection.answers_nothing(seed=options.seed)[:PAIRS]
    gallery = np.setdiff1d(np.arange(len(collection.texts)), free)
    split = pair_documents(collection, free, (old, new), options)
    choice = ec.select_aligner(
        split.train, split.validation, task="verification", candidates=CANDIDATES, seed=options.seed
    )
    sides = Sides(
        *(collection.queries[model] for model in (old, new)),
        *(collection.documents[model].select(gallery) for model in (old, new)),
    )
    converted = ec.Embeddings(choice.aligner.transform(sides.old.vectors), sides.old.ids, sides.new.space)
    report = evaluate(sides, converted, collection.qrels, options.seed)
    return {
        "pairs": {"documents": len(free), "with_pieces": len(split.train) + len(split.validation)},
        **describe_choice(choice),
        **report.to_dict(),
        **ec.decide(report).to_dict(),
    }


def describe_choice(choice: Selection) -> dict:
    return {
        "aligner": choice.chosen.candidate.name,
        "candidates": [each.to_dict() for each in choice.candidates],
    }


def show_upgrade(name: str, result: Mapping) -> None:
    rows = [
        (
            line.replace("_", " "),
            f"{result[line]:.3f}",
            as_estimate(result["differences"].get(line)),
            as_estimate(result["gaps"].get(line), "+.2f"),
        )
        for line in LINES
        if result[line] is not None
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
