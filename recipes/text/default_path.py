"""The default path: what ``fit`` without options converts with, beside every kind that it could have chosen.

Eight document searches, as in text_aware.py and by its protocol: the pairs are documents that answer no query, with
their pieces, and they are taken out of the gallery. Every kind that ``auto`` tries is fitted by name on the same pairs
and converts the same gallery; so does what ``fit`` chooses by itself, once with the texts and the new model at hand and
once without. The judged queries take no part in the choice: they say what it cost. Every kernel has 500 landmarks here,
by name and in ``auto``: the choices stay comparable, and the recipe takes minutes. An interrupted run resumes.

    python recipes/text/default_path.py --data DATA --output recipes-out
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import corpora
import numpy as np
from budgets import METRIC
from loading import Collection, Options, read_earlier, read_options, show, write
from text_aware import SMOKE_LANDMARKS, UPGRADES

import embcompat as ec
from embcompat.aligners.text import StaticEncoder
from embcompat.evaluation import bootstrap_difference, bootstrap_mean
from embcompat.selection import Candidate, fit_artifact, fit_text_aware
from embcompat.selection.candidates import default_candidates, parse_candidate

DOCUMENT_SEARCHES = ("libraries", "manpages", "cranfield", "npl")
LANDMARKS = 500
WITH_TEXTS, WITHOUT = "fit with texts", "fit without texts"


def measure(collection: Collection, old: str, new: str, encoder: StaticEncoder, options: Options) -> dict:
    """Measure what is chosen and what could have been, on one upgrade of one collection."""
    rows = corpora.draw_pairs(options, collection)
    pairs = corpora.pair_documents(options, collection, rows, (old, new))
    names = list(collection.texts)
    others = np.setdiff1d(np.arange(len(names)), rows)
    texts = {names[row]: collection.texts[names[row]] for row in others}
    gallery = {model: collection.documents[model].select(others) for model in (old, new)}
    sides = {
        "old_queries": collection.queries[old],
        "new_queries": collection.queries[new],
        "old_gallery": gallery[old].with_texts(texts),
        "new_gallery": gallery[new],
    }

    def judge(aligner: ec.Aligner) -> dict[str, np.ndarray]:
        converted = ec.convert_embeddings(aligner, sides["old_gallery"], gallery[new].space)
        report = ec.evaluate_retrieval(**sides, converted=converted, qrels=collection.qrels, metrics=(METRIC,))
        return dict(report.per_query)

    landmarks = SMOKE_LANDMARKS if options.smoke else LANDMARKS
    kinds = {each.name: each for each in tried_kinds(pairs, landmarks)}
    fit_words = partial(fit_words_of, encoder=encoder, landmarks=landmarks, seed=options.seed)
    with tempfile.TemporaryDirectory() as folder:
        fit = partial(fit_artifact, pairs, Path(folder) / "fit", seed=options.seed, overwrite=True)
        start = time.perf_counter()
        chosen = fit(candidates=tuple(kinds.values()), fit_words=fit_words)
        seconds = time.perf_counter() - start
        lines = {WITH_TEXTS: judge(chosen.aligner)}
        today, goal = lines[WITH_TEXTS]["status_quo"], lines[WITH_TEXTS]["full_reindex"]
        for name, each in kinds.items():
            lines[name] = judge(fit(kind=name, **each.options).aligner)
        takes_words = chosen.words_gain is not None and chosen.words_gain.low > 0
        words = chosen if takes_words else fit(kind="text_aware", fit_words=fit_words)
        lines["text_aware"] = judge(words.aligner)
    plain = chosen.selection.candidate.name
    lines[WITHOUT] = lines[plain]  # the same kind, fitted on the same pairs
    values = {name: line["converted"] for name, line in lines.items()}
    bests = {WITH_TEXTS: best_of(values, [*kinds, "text_aware"]), WITHOUT: best_of(values, list(kinds))}
    width = float(goal.mean() - today.mean())
    return {
        "today": float(today.mean()),
        "reindex": float(goal.mean()),
        "chosen": {WITH_TEXTS: "text_aware" if takes_words else plain, WITHOUT: plain},
        "words_gain": None if chosen.words_gain is None else chosen.words_gain.to_dict(),
        "seconds": seconds,
        "scores": {each.name: each.score.to_dict() for each in chosen.selection.candidates},
        "lines": {
            name: {
                "value": bootstrap_mean(value, seed=options.seed).to_dict(),
                "gap": float(value.mean() - today.mean()) / width,
            }
            for name, value in values.items()
        },
        "against_best": {
            name: {
                "best": best,
                "difference": bootstrap_difference(values[name], values[best], seed=options.seed).to_dict(),
                "gap": float(values[name].mean() - values[best].mean()) / width,
            }
            for name, best in bests.items()
        },
    }


def fit_words_of(split: ec.PairSplit, **options):
    """Fit a text-aware aligner on the parts of a split."""
    return fit_text_aware(split.train, split.validation, **options)


def tried_kinds(pairs: ec.PairedEmbeddings, landmarks: int) -> list[Candidate]:
    """Return what ``auto`` tries on these pairs, each kernel with as many landmarks."""
    names = [each.name for each in default_candidates("retrieval", pairs)]
    few = {"landmarks": landmarks}
    return [parse_candidate(name, few if name.startswith(("kernel", "pieces")) else {}) for name in names]


def best_of(values: Mapping[str, np.ndarray], names: list[str]) -> str:
    """Return the kind with the best figure for the judged queries, which no user can know beforehand."""
    return max(names, key=lambda name: float(values[name].mean()))


def summarize(upgrades: Mapping[str, Mapping]) -> dict[str, dict[str, float]]:
    """Return the mean gap of each line, and how far the choices are from the best of each upgrade and of all."""
    names = [
        name
        for name in next(iter(upgrades.values()))["lines"]
        if all(name in each["lines"] for each in upgrades.values())
    ]
    means = {name: float(np.mean([each["lines"][name]["gap"] for each in upgrades.values()])) for name in names}
    behind = {
        name: float(np.mean([each["against_best"][name]["gap"] for each in upgrades.values()]))
        for name in (WITH_TEXTS, WITHOUT)
    }
    return {"gap": means, "behind_the_best_of_each": behind}


def main() -> None:
    options = read_options(__doc__)
    results = read_earlier(options, "default_path")
    for title, *upgrade in corpora.each_upgrade(options, DOCUMENT_SEARCHES, UPGRADES):
        if title not in results:
            results[title] = measure(*upgrade, options)
        rows = [
            (line, f"{each['value']['value']:.3f}", f"{each['gap']:+.2f}")
            for line, each in results[title]["lines"].items()
        ]
        show(f"{title}: {results[title]['chosen'][WITH_TEXTS]}", ("", METRIC, "gap closed"), rows)
        means = summarize(results)
        write(options, "default_path", {"metric": METRIC, "means": means, "upgrades": results})
    for title, figures in means.items():
        show(title.replace("_", " "), ("", "gap"), [(line, f"{gap:+.3f}") for line, gap in figures.items()])


if __name__ == "__main__":
    main()
