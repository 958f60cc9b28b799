"""Text-aware conversion: what the items' words add to the old vector, and what each further budget buys.

Six collections with two upgrades each: Cranfield and NPL, where the method was developed; docstrings of libraries and
manual pages, on which nothing was tuned; and two kinds of text that are no document search: the word for a definition
(WordNet), and questions of the same intent (Banking77). The protocol is that of upgrade_search.py: the pairs are
documents that answer no query, with their pieces, and they are taken out of the gallery. Only the new model is alive
afterwards, and it embeds no document of the gallery: it embeds the pairs, and each frequent word and pair of words of
the corpus once. That cost is counted in words, as a share of what a full reindex of the collection would embed.

    python recipes/text/text_aware.py --data DATA --output recipes-out
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import corpora
import numpy as np
from budgets import METRIC, describe, measure_budgets
from loading import Collection, Options, as_estimate, load_model, read_options, show, write

import embcompat as ec
from embcompat.aligners.text import StaticEncoder
from embcompat.embeddings import piece_rows
from embcompat.evaluation.retrieval.hybrid import HybridReport, Run, evaluate_hybrid
from embcompat.evaluation.retrieval.lexical import search_lexically
from embcompat.evaluation.retrieval.lines import Sides
from embcompat.evaluation.retrieval.qrels import Relevance, match_qrels
from embcompat.selection.text import TextAwareFit, fit_text_aware

UPGRADES = (("para_l3", "minilm"), ("static64", "minilm"))
COLLECTIONS = ("cranfield", "npl", "libraries", "manpages", "wordnet", "banking77")
SMOKE_LANDMARKS = 50


@dataclass(frozen=True)
class Case:
    """One upgrade of one collection, fitted: everything that is measured is measured on it."""

    collection: Collection
    sides: Sides
    plain: ec.Embeddings
    words: ec.Embeddings
    mixable: ec.Embeddings
    fit: TextAwareFit
    shares: Mapping[str, float]
    seconds: Mapping[str, float]

    @property
    def base(self) -> float:
        """What the new model embeds before any document of the gallery, as a share of a reindex."""
        return self.shares["pairs"] + self.shares["pieces"] + self.shares["table"]

    @property
    def relevance(self) -> Relevance:
        """The judgements, by row of the gallery."""
        ids = self.sides.old_queries.ids, self.sides.old_gallery.ids
        return match_qrels(self.collection.qrels, *ids, exclude_self=False)

    def report(self, converted: ec.Embeddings) -> ec.RetrievalReport:
        """Measure the lines with some converted gallery."""
        sides = {**vars(self.sides), "converted": converted}
        return ec.evaluate_retrieval(**sides, qrels=self.collection.qrels, metrics=(METRIC,), fused_weights=(0.5,))

    def hybrid(self, run: Run, seed: int) -> HybridReport:
        """Measure the lines beside a lexical run."""
        sides = self.sides
        lines = sides.lines(np.zeros(len(sides.old_gallery), dtype=bool))
        (new,), (old,) = lines["converted"], lines["status_quo"]
        lines["fused"] = [replace(new, weight=0.5), replace(old, weight=0.5)]
        items = self.relevance, sides.old_queries, sides.old_gallery
        return evaluate_hybrid(lines, run, *items, metric=METRIC, seed=seed)


def fit_case(collection: Collection, old: str, new: str, encoder: StaticEncoder, options: Options) -> Case:
    """Fit on documents that answer no query, and convert the others."""
    rows = corpora.draw_pairs(options, collection)
    pairs = corpora.pair_documents(options, collection, rows, (old, new))
    split = ec.split_pairs(pairs, test=0, seed=options.seed)
    start = time.perf_counter()
    landmarks = SMOKE_LANDMARKS if options.smoke else None
    fit = fit_text_aware(split.train, split.validation, encoder=encoder, landmarks=landmarks, seed=options.seed)
    fit_seconds = time.perf_counter() - start
    names, others = list(collection.texts), np.setdiff1d(np.arange(len(collection.texts)), rows)
    texts = [collection.texts[names[row]] for row in others]
    gallery = {model: collection.documents[model].select(others) for model in (old, new)}
    with_texts = gallery[old].with_texts(dict(zip(gallery[old].ids.tolist(), texts, strict=True)))
    space = gallery[new].space
    start = time.perf_counter()
    converted = ec.convert_embeddings(fit.aligner, with_texts, space)
    convert_seconds = time.perf_counter() - start
    plain = ec.convert_embeddings(getattr(fit.aligner, "plain", fit.aligner), gallery[old], space)
    words = encoder.without_bigrams().encode(texts)
    words[~words.any(axis=1)] = encoder.state()["mean"]  # a text without a known word: no direction is better than any
    words /= np.linalg.norm(words, axis=1, keepdims=True)
    sides = Sides(collection.queries[old], collection.queries[new], gallery[old], gallery[new], converted)
    return Case(
        collection,
        sides,
        plain,
        ec.Embeddings(words, gallery[old].ids, space),
        ec.convert_embeddings(fit.unweighted, with_texts, space),
        fit,
        cost_shares(collection, encoder, pairs, texts),
        {"fit": fit_seconds, "convert": convert_seconds},
    )


def cost_shares(
    collection: Collection, encoder: StaticEncoder, pairs: ec.PairedEmbeddings, gallery: list[str]
) -> dict[str, float]:
    """Count what the new model embeds, in words, as shares of the whole collection."""
    whole = corpora.count_words(collection.texts.values())
    pieces = piece_rows(pairs)
    counts = {
        "pairs": corpora.count_words(pairs.texts[~pieces].tolist()),
        "pieces": corpora.count_words(pairs.texts[pieces].tolist()),
        "table": corpora.count_words(encoder.words) + 2 * len(encoder.bigrams),
        "gallery": corpora.count_words(gallery),
    }
    return {"words": whole, **{name: count / whole for name, count in counts.items()}}


def measure(case: Case, model: str, options: Options) -> dict:
    """Measure what each line is worth, with its cost as a share of a reindex, and what a budget adds."""
    texts = {name: case.collection.texts[name] for name in case.sides.old_gallery.ids.tolist()}
    run = search_lexically(case.collection.questions, texts)
    text_aware, plain, words = case.report(case.sides.converted), case.report(case.plain), case.report(case.words)
    today, goal = text_aware.per_query["status_quo"], text_aware.per_query["full_reindex"]
    fitted, table = case.shares["pairs"] + case.shares["pieces"], case.shares["table"]
    lines = {
        "today": (today, 0.0),
        "plain": (plain.per_query["converted"], fitted),
        "plain, fused": (plain.per_query["fused"], fitted),
        "words alone": (words.per_query["converted"], table),
        "text-aware": (text_aware.per_query["converted"], fitted + table),
        "text-aware, fused": (text_aware.per_query["fused"], fitted + table),
        "reindex": (goal, 1.0),
    }
    hybrid = case.hybrid(run, options.seed).to_dict()
    return {
        "queries": text_aware.queries,
        "documents": len(case.collection.texts),
        "gallery": len(texts),
        "parts": [part.to_dict() for part in case.fit.parts],
        "words": case.shares,
        "seconds": {**case.seconds, "words_per_second": time_model(model, list(texts.values())[:64])},
        "lines": {name: describe(values, today, goal, share, options.seed) for name, (values, share) in lines.items()},
        "bm25": hybrid["lexical"],
        "hybrid": {name: hybrid["lines"][name] for name in HYBRIDS if name in hybrid["lines"]},
        "budgets": measure_budgets(case, today, goal, options.seed),
        "decision": ec.decide(text_aware).to_dict(),
    }


HYBRIDS = "status_quo", "converted", "fused", "full_reindex"


def time_model(model: str, texts: Sequence[str]) -> float:
    """Return how many words of documents a model embeds in a second, on this machine and under its load."""
    extractor = load_model(model)
    extractor.extract(texts[:1])
    start = time.perf_counter()
    extractor.extract(texts)
    return corpora.count_words(texts) / (time.perf_counter() - start)


def show_upgrade(name: str, result: Mapping) -> None:
    """Print the lines of one upgrade, the hybrids and what a budget buys."""
    rows = [
        (
            line,
            f"{each['share_of_reindex']:.0%}",
            f"{each['value']['value']:.3f}",
            as_estimate(each.get("difference")),
            as_estimate(each.get("gap"), "+.2f"),
        )
        for line, each in result["lines"].items()
    ]
    used_parts = ", ".join(part["name"] for part in result["parts"] if part["used"])
    header = ("", "cost", METRIC, "against today (95 %)", "gap closed (95 %)")
    show(f"{name}: {used_parts}", header, rows)
    hybrid = result["hybrid"]
    rows = [
        (line.replace("_", " "), f"{each['chosen']['value']:.3f}", as_estimate(each["chosen_difference"]))
        for line, each in hybrid.items()
    ]
    show(f"beside BM25 ({result['bm25']['value']:.3f} alone)", ("", METRIC, "against today's hybrid (95 %)"), rows)
    rows = [
        (
            f"{each['search']}, depth {each['depth']}, {each['queries']}",
            f"{each['share_of_reindex']:.0%}",
            f"{each['value']['value']:.3f}",
            as_estimate(each["gap"], "+.2f"),
        )
        for each in result["budgets"]["lazy"]
    ]
    rows += [
        (
            f"{each['search']}, {each['embedded']:.0%} {each['order'].replace('_', ' ')}",
            f"{each['share_of_reindex']:.0%}",
            f"{each['value']['value']:.3f}",
            f"{each['gap']:+.2f}",
        )
        for each in result["budgets"]["orders"]
        if round(each["embedded"], 1) in (0.1, 0.2) and each["order"] in ("random", "usefulness")
    ]
    show("what a budget adds", ("", "cost", METRIC, "gap closed (95 %)"), rows)
    print(f"{result['decision']['decision']}: {result['decision']['reason']}")


def main() -> None:
    options = read_options(__doc__)
    results = {}
    for title, collection, old, new, encoder in corpora.each_upgrade(options, COLLECTIONS, UPGRADES):
        results[title] = measure(fit_case(collection, old, new, encoder, options), new, options)
        show_upgrade(title, results[title])
        write(options, "text_aware", {"metric": METRIC, "upgrades": results})


if __name__ == "__main__":
    main()
