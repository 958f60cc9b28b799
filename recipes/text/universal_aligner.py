"""One aligner for several old models, or one each?

A company has galleries of two old models and wants both in the space of one new model. Three ways on the same pairs:

* each: an aligner for each old model;
* stacked: one aligner for the old vectors laid side by side, each in its own columns and zero elsewhere;
* padded: one aligner for the old vectors filled up with zeros to one length, so that the columns are shared.

    python recipes/text/universal_aligner.py --data DATA --output recipes-out
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from loading import Collection, as_embeddings, load_collections, read_options, show, write

import embcompat as ec
from embcompat.aligners import parameter_count

OLD_MODELS, NEW_MODEL = ("para_l3", "static64"), "minilm"
QUICK_MODELS = ("static64", "para_l3"), "static64"
PAIRS = 4_000

Lay = Callable[[np.ndarray, int], np.ndarray]
"""Puts vectors of the old model of a number where a shared aligner expects them."""


def stacked(dims: Sequence[int]) -> Lay:
    offsets = np.cumsum([0, *dims])

    def lay(vectors: np.ndarray, number: int) -> np.ndarray:
        wide = np.zeros((len(vectors), offsets[-1]), dtype=np.float32)
        wide[:, offsets[number] : offsets[number + 1]] = vectors
        return wide

    return lay


def padded(dims: Sequence[int]) -> Lay:
    def lay(vectors: np.ndarray, _: int) -> np.ndarray:
        return np.pad(vectors, ((0, 0), (0, max(dims) - vectors.shape[1])))

    return lay


def merge(splits: Sequence[ec.PairSplit], part: str, lay: Lay) -> ec.PairedEmbeddings:
    """Put the pairs of all old models into one set, as a shared aligner needs them."""
    parts = [split.parts()[part] for split in splits]
    ids = [f"{number}/{item}" for number, pairs in enumerate(parts) for item in pairs.ids]
    source = np.concatenate([lay(pairs.source.vectors, number) for number, pairs in enumerate(parts)])
    target = np.concatenate([pairs.target.vectors for pairs in parts])
    return ec.PairedEmbeddings(as_embeddings("any-old", source, ids), as_embeddings("new", target, ids))


def ndcg(collection: Collection, old: str, new: str, converted: np.ndarray, fitted: set[str], seed: int) -> dict:
    documents, queries = collection.documents, collection.queries
    report = ec.evaluate_retrieval(
        old_queries=queries[old],
        new_queries=queries[new],
        old_gallery=documents[old],
        new_gallery=documents[new],
        converted=ec.Embeddings(converted, documents[old].ids, documents[new].space),
        qrels=collection.qrels,
        native_ids=fitted,
        seed=seed,
    )
    return {line: estimate.to_dict() for line, estimate in report.lines.items()}


def main() -> None:
    options = read_options(__doc__)
    olds, new = QUICK_MODELS if options.smoke else (OLD_MODELS, NEW_MODEL)
    collection = load_collections(options, (*olds, new), ("npl",))[0]
    documents = collection.documents
    chosen = collection.answers_nothing(seed=options.seed)[:PAIRS]
    splits = [
        ec.split_pairs(
            ec.pair_embeddings(documents[old].select(chosen), documents[new].select(chosen)),
            test=0,
            seed=options.seed,
        )
        for old in olds
    ]
    fitted = set(documents[new].ids[chosen].tolist())
    result, rows = {}, []
    for kind in ("ridge", "kernel"):
        each = [ec.fit_aligner(kind, split.train, split.validation, seed=options.seed) for split in splits]
        converted = {"each": [a.transform(documents[old].vectors) for a, old in zip(each, olds, strict=True)]}
        floats = {"each": sum(map(parameter_count, each))}
        dims = [documents[old].space.dim for old in olds]
        for name, lay in (("stacked", stacked(dims)), ("padded", padded(dims))):
            shared = ec.fit_aligner(
                kind, merge(splits, "train", lay), merge(splits, "validation", lay), seed=options.seed
            )
            converted[name] = [shared.transform(lay(documents[old].vectors, n)) for n, old in enumerate(olds)]
            floats[name] = parameter_count(shared)
        for name, galleries in converted.items():
            figures = {
                old: ndcg(collection, old, new, gallery, fitted, options.seed)
                for old, gallery in zip(olds, galleries, strict=True)
            }
            result[f"{kind}, {name}"] = {"floats": floats[name], "nDCG@10": figures}
            rows.append(
                (f"{kind}, {name}", f"{floats[name]:,}", *(f"{figures[old]['converted']['value']:.3f}" for old in olds))
            )
    rows.append(("today", "", *(f"{figures[old]['status_quo']['value']:.3f}" for old in olds)))
    rows.append(("full reindex", "", *(f"{figures[old]['full_reindex']['value']:.3f}" for old in olds)))
    show(
        f"{collection.name}: nDCG@10 of converted galleries",
        ("aligner", "floats", *(f"{o} → {new}" for o in olds)),
        rows,
    )
    write(options, "universal_aligner", {"collection": collection.name, "new": new, "aligners": result})


if __name__ == "__main__":
    main()
