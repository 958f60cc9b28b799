"""Weighting the queries instead of the converted rows: what each is worth, and how either serves a mixed gallery.

Eight document searches, fitted and measured as in text_aware.py. Rows that are reweighted are on another scale than
native rows. Where the weighting passes to the queries (`embcompat.aligners.query_weights`), rows stay as they are,
native ones may stand among them, and a service weighs each query by one matrix. Each way is measured with every row
converted, with a random tenth re-embedded (the mean of five draws), with a lazy backfill of ten documents a query, and
with every row native: there the weighting has no conversion to correct. Fused search is measured with both sides
weighted alike and with more weight on the new side. A gap of 1 is a full reindex searched by plain queries.

    python recipes/text/weighted_queries.py --data DATA --output recipes-out
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import corpora
import numpy as np
from budgets import METRIC, describe
from default_path import DOCUMENT_SEARCHES
from loading import Options, read_earlier, read_options, show, write
from text_aware import UPGRADES, Case, fit_case

import embcompat as ec
from embcompat.aligners import query_weights, weigh_queries
from embcompat.backfill import replay_lazy
from embcompat.evaluation.retrieval.metrics import metric_per_query
from embcompat.evaluation.retrieval.ranks import ScoreTerm, rank_relevant

DRAWS, DEPTH = 5, 10
NEW_SIDE = 0.7
"""The best of the weights that ``evaluate`` tries, on Cranfield and the libraries."""

WAYS = ("rows weighted", "nothing weighted", "queries weighted")


def measure(case: Case, options: Options) -> dict | None:
    """Measure each way to weigh; None where the fit left the reweighting out."""
    weights = query_weights(case.fit.aligner)
    if weights is None:
        return None
    sides = replace(case.sides, converted=case.mixable)
    queries, native, relevance = sides.new_queries, sides.new_gallery.vectors, case.relevance
    weighted = ec.Embeddings(weigh_queries(queries.vectors, weights), queries.ids, queries.space)
    ways = {
        "rows weighted": (queries.vectors, case.sides.converted.vectors),
        "nothing weighted": (queries.vectors, sides.converted.vectors),
        "queries weighted": (weighted.vectors, sides.converted.vectors),
    }

    def values(vectors: np.ndarray, gallery: np.ndarray, *, weight: float = 1.0) -> np.ndarray:
        terms = [ScoreTerm(vectors, gallery, queries.space.similarity, weight)]
        if weight < 1:
            old = sides.old_queries.vectors, sides.old_gallery.vectors, sides.old_queries.space.similarity
            terms.append(ScoreTerm(*old, 1 - weight))
        return metric_per_query(METRIC, rank_relevant(terms, relevance)[0], relevance)

    today = values(sides.old_queries.vectors, sides.old_gallery.vectors)
    goal = values(queries.vectors, native)
    tenths = [
        np.random.default_rng([options.seed, draw]).permutation(len(native))[: round(0.1 * len(native))]
        for draw in range(DRAWS)
    ]
    figures = {}
    for way, (vectors, converted) in ways.items():
        mixed, fused = [], []
        for rows in tenths:
            gallery = converted.copy()
            gallery[rows] = native[rows]
            mixed.append(values(vectors, gallery))
            fused.append(values(vectors, gallery, weight=NEW_SIDE))
        service = replace(
            sides,
            converted=case.sides.converted if way == "rows weighted" else sides.converted,
            weighted_queries=weighted if way == "queries weighted" else None,
        )
        curve = replay_lazy(
            service, relevance, np.zeros(len(native), dtype=bool), depth=DEPTH, weight=None, seed=options.seed
        )
        figures[way] = {
            "every row converted": values(vectors, converted),
            "fused": values(vectors, converted, weight=0.5),
            f"fused, new side {NEW_SIDE}": values(vectors, converted, weight=NEW_SIDE),
            "a tenth native": np.mean(mixed, axis=0),
            f"a tenth native, fused, new side {NEW_SIDE}": np.mean(fused, axis=0),
            "lazy 10, cold": curve.cold,
            "lazy 10": curve.values,
            "every row native": values(vectors, native),
        }
    return {
        "today": float(today.mean()),
        "reindex": float(goal.mean()),
        "ways": {
            way: {name: as_figures(each, today, goal, options.seed) for name, each in lines.items()}
            for way, lines in figures.items()
        },
    }


def as_figures(values: np.ndarray, today: np.ndarray, goal: np.ndarray, seed: int) -> dict:
    """Return a figure with its intervals."""
    figures = describe(values, today, goal, 0.0, seed)
    return {name: figures[name] for name in ("value", "gap")}


def summarize(upgrades: Mapping[str, Mapping]) -> dict[str, dict[str, dict[str, float]]]:
    """Return the mean and the least gap of every way in every gallery, over the upgrades."""
    ways = [each["ways"] for each in upgrades.values()]
    return {
        way: {
            name: {
                "mean": float(np.mean([each[way][name]["gap"]["value"] for each in ways])),
                "least": float(min(each[way][name]["gap"]["value"] for each in ways)),
            }
            for name in ways[0][way]
        }
        for way in WAYS
    }


def main() -> None:
    options = read_options(__doc__)
    results = read_earlier(options, "weighted_queries")
    for title, *upgrade in corpora.each_upgrade(options, DOCUMENT_SEARCHES, UPGRADES):
        if title not in results:
            result = measure(fit_case(*upgrade, options), options)
            if result is None:
                print(f"{title}: no reweighting was kept, so there is nothing to weigh")
                continue
            results[title] = result
        show_upgrade(title, results[title]["ways"])
        write(options, "weighted_queries", {"metric": METRIC, "means": summarize(results), "upgrades": results})
    if results:
        means = summarize(results)
        rows = [
            (name, *(f"{means[way][name]['mean']:+.2f} ({means[way][name]['least']:+.2f})" for way in WAYS))
            for name in means[WAYS[0]]
        ]
        show("gap closed, mean (least)", ("", *WAYS), rows)


def show_upgrade(title: str, ways: Mapping[str, Mapping]) -> None:
    """Print what each way closes of the gap."""
    rows = [(name, *(f"{ways[way][name]['gap']['value']:+.2f}" for way in WAYS)) for name in ways[WAYS[0]]]
    show(title, ("gap closed", *WAYS), rows)


if __name__ == "__main__":
    main()
