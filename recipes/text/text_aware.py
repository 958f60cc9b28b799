"""Text-aware conversion: what do the items' words add to the old vector, and are they enough without it?

Every upgrade of `UPGRADES` on Cranfield, NPL and the docstrings that every machine has. The protocol is that of
upgrade_search.py: the pairs are documents that answer no query, with their pieces, and they are taken out of the
gallery; nothing was tuned on the docstrings. Only the new model is alive afterwards, and it embeds no document of the
gallery: it embeds the pairs, and each frequent word and pair of words of the corpus once.

The lines: today; the plain aligner (vectors alone); the words alone (no old vector, no pairs); text-aware; the same
fused with the old vectors; a full reindex. The cost is given in words that the new model embeds.

    python recipes/text/text_aware.py --data DATA --output recipes-out
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
from loading import (
    QUICK,
    Collection,
    Options,
    as_estimate,
    docstring_search,
    embed,
    load_model,
    read_collection,
    read_options,
    show,
    write,
)

import embcompat as ec
from embcompat.aligners.text import StaticEncoder, build_static_encoder, tokenize
from embcompat.embeddings import PairedEmbeddings, normalize_rows
from embcompat.evaluation import bootstrap_difference, bootstrap_ratio
from embcompat.selection.text import fit_text_aware

UPGRADES = (("para_l3", "minilm"), ("static64", "minilm"))
COLLECTIONS = ("cranfield", "npl", "docstrings")
PAIRS, SMOKE_LANDMARKS, LANDMARKS = 2_000, 50, 2_500
LINES = ("today", "plain", "words alone", "text-aware", "fused", "reindex")


def pair_documents(
    collection: Collection, rows: np.ndarray, models: tuple[str, str], options: Options
) -> PairedEmbeddings:
    """Pair documents and their pieces, with their texts, labelled by document."""
    ids = np.array(list(collection.texts), dtype=object)[rows].tolist()
    cut = ec.cut_texts([collection.texts[item] for item in ids], ids)
    pieces = dict(zip(cut.ids[len(ids) :], cut.items[len(ids) :], strict=True))
    sides = []
    for model in models:
        whole = collection.documents[model].select(rows)
        vectors = [whole.vectors]
        if pieces:
            vectors.append(embed(options, model, pieces, f"{collection.name}_{model}_cut").vectors)
        sides.append(ec.Embeddings(np.concatenate(vectors), cut.ids, whole.space, cut.labels, cut.items))
    return PairedEmbeddings(*sides)


def upgrade(collection: Collection, old: str, new: str, encoder: StaticEncoder, options: Options) -> dict:
    """Fit and measure one upgrade of one collection."""
    rows = collection.answers_nothing(seed=options.seed)[:PAIRS]
    pairs = pair_documents(collection, rows, (old, new), options)
    split = ec.split_pairs(pairs, test=0, seed=options.seed)
    start = time.perf_counter()
    landmarks = SMOKE_LANDMARKS if options.smoke else LANDMARKS
    fit = fit_text_aware(split.train, split.validation, encoder=encoder, landmarks=landmarks, seed=options.seed)
    fit_seconds = time.perf_counter() - start
    left = np.setdiff1d(np.arange(len(collection.texts)), rows)
    gallery = {model: collection.documents[model].select(left) for model in (old, new)}
    texts = [list(collection.texts.values())[row] for row in left]
    start = time.perf_counter()
    converted = convert(fit.aligner, gallery[old], texts)
    seconds = time.perf_counter() - start
    words = encoder.without_bigrams().encode(texts)
    galleries = {
        "today": (gallery[old].vectors, collection.queries[old].vectors),
        "plain": (convert(getattr(fit.aligner, "plain", fit.aligner), gallery[old], texts), None),
        "words alone": (words, None),
        "text-aware": (converted, None),
        "fused": (np.hstack([converted, gallery[old].vectors]), np.hstack(queries_of(collection, new, old))),
        "reindex": (gallery[new].vectors, None),
    }
    values = {}
    for line, (vectors, queries) in galleries.items():
        asked = collection.queries[new].vectors if queries is None else queries
        values[line] = score(asked, vectors, collection, gallery[old].ids)
    tokens = {
        "words": sum(len(word.split()) for word in encoder.words) + 2 * len(encoder.bigrams),
        "pairs": sum(len(tokenize(text)) for text in pairs.texts),
        "gallery": sum(len(tokenize(text)) for text in texts),
    }
    return {
        "pairs": {"documents": len(rows), "with_pieces": len(pairs)},
        "gallery": len(left),
        "queries": len(values["today"]),
        "parts": [part.to_dict() for part in fit.parts],
        "lines": {line: estimate(values, line, options.seed) for line in LINES},
        "tokens": tokens,
        "fit_seconds": fit_seconds,
        "converted_per_second": len(left) / seconds,
    }


def convert(aligner: ec.Aligner, embeddings: ec.Embeddings, texts: list[str]) -> np.ndarray:
    if getattr(aligner, "reads_texts", False):
        return aligner.transform(embeddings.vectors, texts)
    return aligner.transform(embeddings.vectors)


def queries_of(collection: Collection, *models: str) -> list[np.ndarray]:
    return [collection.queries[model].vectors for model in models]


def score(queries: np.ndarray, gallery: np.ndarray, collection: Collection, ids: np.ndarray) -> np.ndarray:
    """Return nDCG@10 of every query that has an answer in the gallery (linear gain, as trec_eval)."""
    similarities = queries @ normalize_rows(gallery).T
    best = np.argsort(-similarities, axis=1, kind="stable")[:, :10]
    discounts = 1 / np.log2(np.arange(2, 12))
    names, values, gains = set(ids.tolist()), [], collection.qrels.gains
    for row, query in enumerate(next(iter(collection.queries.values())).ids.tolist()):
        relevant = {item: gain for item, gain in gains.get(query, {}).items() if gain > 0 and item in names}
        if relevant:
            found = np.array([relevant.get(ids[place], 0.0) for place in best[row]])
            ideal = np.sort(list(relevant.values()))[::-1][:10]
            values.append((found @ discounts[: len(found)]) / (ideal @ discounts[: len(ideal)]))
    return np.array(values)


def estimate(values: Mapping[str, np.ndarray], line: str, seed: int) -> dict:
    """Return a line's figure, its paired difference from today, and the share of the gap that it closes."""
    today, goal = values["today"], values["reindex"]
    result = {"value": float(values[line].mean())}
    if line != "today":
        result["difference"] = bootstrap_difference(values[line], today, seed=seed).to_dict()
        result["gap"] = bootstrap_ratio(values[line] - today, goal - today, seed=seed).to_dict()
    return result


def main() -> None:
    options = read_options(__doc__)
    upgrades = (QUICK,) if options.smoke else UPGRADES
    models = sorted({model for pair in upgrades for model in pair})
    results = {}
    for name in COLLECTIONS[-1:] if options.data is None or options.smoke else COLLECTIONS:
        collection = (
            docstring_search(options, models) if name == "docstrings" else read_collection(options, name, models)
        )
        start = time.perf_counter()
        encoder = build_static_encoder(load_model(upgrades[0][1]), collection.texts.values())
        table_seconds = time.perf_counter() - start
        for old, new in upgrades:
            title = f"{old} → {new}, {name}"
            results[title] = result = upgrade(collection, old, new, encoder, options)
            result["table_seconds"] = table_seconds
            rows = [
                (
                    line,
                    f"{each['value']:.3f}",
                    as_estimate(each.get("difference")),
                    as_estimate(each.get("gap"), "+.2f"),
                )
                for line, each in result["lines"].items()
            ]
            kept = ", ".join(part["name"] for part in result["parts"] if part["used"])
            show(f"{title}: {kept}", ("", "nDCG@10", "against today (95 %)", "gap closed (95 %)"), rows)
            write(options, "text_aware", {"metric": "ndcg@10", "upgrades": results})


if __name__ == "__main__":
    main()
