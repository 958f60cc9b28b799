"""What judges an upgrade: both galleries joined and converted, the queries, and what counts as an answer."""

from __future__ import annotations

from collections.abc import Collection, Set
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from embcompat.aligners import load_aligner, weigh_queries
from embcompat.aligners.text import TextAwareAligner
from embcompat.artifact import TEXT_AWARE, Artifact
from embcompat.backfill.backlog import HeldOut
from embcompat.embeddings import Embeddings, pair_embeddings
from embcompat.errors import InputError
from embcompat.evaluation import search
from embcompat.evaluation.retrieval.evaluate import WAYS_OUT, held_out_relevance
from embcompat.evaluation.retrieval.lines import Sides
from embcompat.evaluation.retrieval.neighbours import NEIGHBOURS
from embcompat.evaluation.retrieval.qrels import Qrels, Relevance, match_qrels
from embcompat.results import Judge
from embcompat.upgrade.maps import AlignerMaps, Maps, Upgrade, open_upgrade

HELD_OUT_SHARE = 0.25
"""Share of the test pairs in a gallery that backfill orders may learn from [ours]."""

FEWEST_HELD_OUT = 30
"""Held-out pairs below which nothing is learned from them [ours]."""


@dataclass(frozen=True, eq=False)
class Galleries:
    """The same items under the old model, converted, and in the target space.

    Attributes:
        maps: The maps that converted them.
        artifact: The artifact, or None for an aligner that was not saved.
        fitted: Ids of the items that the aligner was fitted or chosen on.
        old: The gallery under the old model.
        new: The same items under the new model, in the target space.
        converted: The same items, converted.
    """

    maps: Maps
    artifact: Artifact | None
    fitted: Set[str]
    old: Embeddings
    new: Embeddings
    converted: Embeddings

    @cached_property
    def mixable(self) -> Embeddings | None:
        """The same items, converted without the aligner's reweighting; None where it has none."""
        return self.maps.convert_unweighted(self.old)

    @cached_property
    def text_aligner(self) -> TextAwareAligner | None:
        """The aligner, where it reads texts."""
        if isinstance(self.maps, AlignerMaps):
            aligner: object = self.maps.aligner
        elif self.artifact is not None and self.artifact.manifest.kind == TEXT_AWARE:
            aligner = load_aligner(self.artifact)
        else:
            return None
        return aligner if isinstance(aligner, TextAwareAligner) else None

    @property
    def names(self) -> tuple[str | None, tuple[str, str]]:
        """Id of the artifact, or None; ids of the old space and of the one in which everything is compared."""
        return None if self.artifact is None else self.artifact.id, (self.old.space.id, self.converted.space.id)

    @property
    def mixed(self) -> Embeddings:
        """The converted items as they may stand among native ones."""
        return self.converted if self.mixable is None else self.mixable


@dataclass(frozen=True, eq=False)
class SearchCase:
    """Everything on which a search is judged.

    Attributes:
        galleries: The galleries.
        sides: Galleries and queries, row by row.
        qrels: Which items are relevant to which queries.
        judge: Where the judgements come from.
        own_queries: Whether the queries are items of the gallery.
    """

    galleries: Galleries
    sides: Sides
    qrels: Qrels
    judge: Judge
    own_queries: bool

    def held_out_relevance(self) -> tuple[NDArray[np.bool_], Relevance]:
        """Return which rows of the gallery were fitted (n,), and the relevant items of the held-out queries."""
        native = self.sides.native_rows(self.galleries.fitted)
        queries, gallery = self.sides.old_queries.ids, self.sides.old_gallery.ids
        judged = match_qrels(self.qrels, queries, gallery, exclude_self=self.own_queries)
        return native, held_out_relevance(judged, native)


def join_galleries(
    upgrade: Upgrade, old_gallery: Embeddings, new_gallery: Embeddings, *, fitted_ids: Collection[str] | None = None
) -> Galleries:
    """Join both galleries by id, and convert.

    Args:
        upgrade: As in `evaluate_upgrade`.
        old_gallery: Items under the old model.
        new_gallery: Items under the new model; those without a partner are left out.
        fitted_ids: As in `evaluate_upgrade`.

    Raises:
        InputError: If the galleries share no item, or ``fitted_ids`` is missing or superfluous.
        SpaceMismatchError: If a gallery is in another space than the artifact reads or writes.
    """
    maps, artifact = open_upgrade(upgrade, old_gallery.space, new_gallery.space)
    if (artifact is None) == (fitted_ids is None):
        raise InputError(
            "fitted_ids must name the items that an aligner was fitted and chosen on, so that none of them judges it; "
            "() where none of them is in the gallery. An artifact records them: omit fitted_ids there."
        )
    fitted = artifact.pair_ids("train", "validation") if artifact is not None else frozenset(fitted_ids or ())
    pairs = pair_embeddings(old_gallery, new_gallery)
    old, new = pairs.source, maps.into_target(pairs.target)
    return Galleries(maps, artifact, fitted, old, new, maps.convert(old))


def build_search_case(
    galleries: Galleries,
    *,
    old_queries: Embeddings | None = None,
    new_queries: Embeddings | None = None,
    qrels: Qrels | None = None,
    weigh: bool = False,
) -> SearchCase:
    """Find queries and judgements for two galleries.

    Without queries, gallery items that were not fitted are the queries. Without judgements, items with the query's
    label are relevant; without labels, what the new model itself ranks first, which measures the fidelity to the new
    model and can't say whether that model is better.

    Args:
        galleries: The galleries.
        old_queries: Queries under the old model.
        new_queries: The same queries under the new model.
        qrels: Which items are relevant to which queries.
        weigh: Whether weighted queries search the converted gallery, and its rows are not reweighted.

    Raises:
        InputError: If the queries of one model are missing, every item was fitted on and there are no other queries, or
            there is no weighting that could pass to the queries.
    """
    if (old_queries is None) != (new_queries is None):
        raise InputError("old_queries and new_queries must be given together: the same queries under both models.")
    own_queries = old_queries is None or new_queries is None
    if old_queries is None or new_queries is None:
        fitted = galleries.fitted
        held_out = [row for row, identifier in enumerate(galleries.old.ids.tolist()) if identifier not in fitted]
        if not held_out:
            raise InputError(
                f"every item of the gallery was fitted on, so none is left to be a query. {WAYS_OUT} Or evaluate on a "
                "gallery that holds other items too."
            )
        old, new = galleries.old.select(held_out), galleries.new.select(held_out)
    else:
        pairs = pair_embeddings(old_queries, new_queries)
        old, new = pairs.source, galleries.maps.into_target(pairs.target)
    sides = Sides(old, new, galleries.old, galleries.new, galleries.converted, galleries.mixable)
    if weigh:
        weighted = weigh_sides(sides, galleries)
        if weighted is None:
            raise InputError(
                "queries can be weighted for a reweighted aligner, or for what `embcompat unweight` makes of one. This "
                "aligner has no weights: evaluate it without weighing queries."
            )
        sides = weighted
    judge: Judge
    if qrels is not None:
        judge = "qrels"
    elif old.labels is not None and galleries.old.labels is not None:
        judge, qrels = "labels", Qrels.from_labels(old, galleries.old)
    else:
        judge, qrels = "new_model_neighbours", judge_by_neighbours(new, galleries.new, exclude_self=own_queries)
    return SearchCase(galleries, sides, qrels, judge, own_queries)


def weigh_sides(sides: Sides, galleries: Galleries) -> Sides | None:
    """Return sides whose new queries are weighted instead of the converted rows; None where nothing is reweighted."""
    weights = galleries.maps.query_weights()
    if weights is None:
        return None
    queries = sides.new_queries
    vectors = weigh_queries(queries.vectors, weights)
    weighted = Embeddings(vectors, queries.ids, queries.space, row_numbers=queries.row_numbers)
    return replace(sides.mixed, weighted_queries=weighted)


def unseen_subjects(galleries: Galleries) -> tuple[Embeddings, Embeddings, Embeddings]:
    """Return old, new and converted embeddings of the subjects without a fitted row.

    Raises:
        InputError: If there are no labels, or no subject is left.
    """
    labels = next((side.labels for side in (galleries.old, galleries.new) if side.labels is not None), None)
    if labels is None:
        raise InputError("verification needs the subject of each row. Embed with labels, or add a label column.")
    ids = galleries.old.ids.tolist()
    fitted = {label for identifier, label in zip(ids, labels.tolist(), strict=True) if identifier in galleries.fitted}
    rows = [row for row, label in enumerate(labels.tolist()) if label not in fitted]
    if not rows:
        raise InputError(
            f"verification needs subjects that the aligner was not fitted on. All {len(fitted)} subjects of the "
            "gallery were. Keep the test subjects out of the fit (`embcompat fit --no-refit`), or evaluate on a "
            "gallery that holds other subjects too."
        )
    return galleries.old.select(rows), galleries.new.select(rows), galleries.converted.select(rows)


def hold_out(galleries: Galleries, *, seed: int) -> tuple[Galleries, HeldOut | None]:
    """Set a quarter of an artifact's test pairs aside for backfill orders to learn from, by label if there are labels.

    They count as fitted from then on, so that no figure is measured on pairs that something was learned from. An
    aligner that was fitted on all its pairs has no test pairs: nothing is held out then, and orders that need it cannot
    be measured.

    Args:
        galleries: The galleries.
        seed: Seed of the choice.

    Returns:
        The galleries, and the held-out pairs; None where they would be fewer than `FEWEST_HELD_OUT`.
    """
    test = set[str]() if galleries.artifact is None else galleries.artifact.pair_ids("test")
    rows = np.flatnonzero([identifier in test for identifier in galleries.old.ids.tolist()])
    names = galleries.old.ids if galleries.old.labels is None else galleries.old.labels.astype(str)
    groups = np.unique(names[rows])
    drawn = np.random.default_rng(seed).permutation(groups)[: round(HELD_OUT_SHARE * len(groups))]
    rows = rows[np.isin(names[rows], drawn)]
    if len(rows) < FEWEST_HELD_OUT:
        return galleries, None
    parts = [side.select(rows) for side in (galleries.old, galleries.mixed, galleries.new)]
    return replace(galleries, fitted=galleries.fitted | set(parts[0].ids.tolist())), HeldOut(*parts)


def judge_by_neighbours(queries: Embeddings, gallery: Embeddings, *, exclude_self: bool) -> Qrels:
    """Judge relevant to each query what the new model ranks first: `NEIGHBOURS` items.

    Args:
        queries: The queries under the new model.
        gallery: The gallery under the new model.
        exclude_self: Whether the queries are items of the gallery and must not find themselves.
    """
    row_of = {identifier: row for row, identifier in enumerate(gallery.ids.tolist())}
    excluded = [row_of[identifier] for identifier in queries.ids.tolist()] if exclude_self else None
    depth = min(NEIGHBOURS, len(gallery) - exclude_self)
    _, rows = search(
        queries.vectors, gallery.vectors, k=depth, similarity=gallery.space.similarity, exclude_self=excluded
    )
    return Qrels(
        {
            query: dict.fromkeys(gallery.ids[nearest].tolist(), 1.0)
            for query, nearest in zip(queries.ids.tolist(), rows, strict=True)
        }
    )
