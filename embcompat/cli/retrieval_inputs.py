"""What a retrieval evaluation is made of: both galleries, converted vectors, queries and judgements."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from embcompat.artifact import Artifact
from embcompat.cli.evaluate import convert, neighbours, open_artifacts
from embcompat.embeddings import Embeddings, pair_embeddings
from embcompat.errors import InputError
from embcompat.evaluation.retrieval.qrels import Qrels, read_qrels


@dataclass(frozen=True, eq=False)
class Galleries:
    """The same items in the old space, converted, and in the new space, into which a pair of artifacts moves both.

    Attributes:
        artifact: The artifact, or the forward one of a pair.
        backward: The backward one of a pair, or None.
        fitted: Ids that it was fitted or chosen on.
        old: The gallery under the old model.
        new: The same items under the new model.
        converted: The same items, converted.
    """

    artifact: Artifact
    backward: Artifact | None
    fitted: Set[str]
    old: Embeddings
    new: Embeddings
    converted: Embeddings

    def into_target(self, new: Embeddings) -> Embeddings:
        """Map vectors of the new model to the target space, where that is another."""
        return new if self.backward is None else convert(self.backward, new)


@dataclass(frozen=True, eq=False)
class RetrievalInputs:
    """Everything that `evaluate_retrieval` compares.

    Attributes:
        galleries: The galleries.
        old_queries: The queries under the old model.
        new_queries: The same queries in the space of ``galleries.new``.
        qrels: Which items are relevant to which queries.
        relevance: What says so: ``qrels``, ``labels`` or ``neighbours``.
        own_queries: Whether the queries are items of the gallery.
    """

    galleries: Galleries
    old_queries: Embeddings
    new_queries: Embeddings
    qrels: Qrels
    relevance: str
    own_queries: bool


def read_galleries(path: Path, old_gallery: Embeddings, new_gallery: Embeddings) -> Galleries:
    """Join both galleries by id and convert."""
    artifact, backward = open_artifacts(path)
    pairs = pair_embeddings(old_gallery, new_gallery)
    new = pairs.target if backward is None else convert(backward, pairs.target)
    fitted = artifact.pair_ids("train", "validation")
    return Galleries(artifact, backward, fitted, pairs.source, new, convert(artifact, pairs.source))


def read_retrieval_inputs(
    path: Path,
    old_gallery: Embeddings,
    new_gallery: Embeddings,
    *,
    queries: tuple[Embeddings, Embeddings] | None,
    qrels: Path | None,
) -> RetrievalInputs:
    """Join both galleries, convert, and find queries and judgements.

    Without queries, held-out gallery items are the queries; without judgements, items with the query's label are
    relevant, or else what the new model itself ranks first.

    Raises:
        InputError: If every item was fitted on and there are no other queries.
    """
    sides = read_galleries(path, old_gallery, new_gallery)
    own_queries = queries is None
    if queries is None:
        held_out = [row for row, identifier in enumerate(sides.old.ids.tolist()) if identifier not in sides.fitted]
        if not held_out:
            raise InputError(
                "every gallery item was fitted on, so none can serve as a held-out query. "
                "Pass --old-queries, --new-queries and --qrels, or a gallery with other items."
            )
        old_q, new_q = sides.old.select(held_out), sides.new.select(held_out)
    else:
        joined = pair_embeddings(*queries)
        old_q, new_q = joined.source, sides.into_target(joined.target)
    if qrels is not None:
        judged, relevance = read_qrels(qrels), "qrels"
    elif old_q.labels is not None and sides.old.labels is not None:
        judged, relevance = Qrels.from_labels(old_q, sides.old), "labels"
    else:
        judged, relevance = neighbours(new_q, sides.new, exclude_self=own_queries), "neighbours"
    return RetrievalInputs(sides, old_q, new_q, judged, relevance, own_queries)
