"""What a retrieval evaluation is made of: both galleries, converted vectors, queries and judgements."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from embcompat.artifact import Artifact
from embcompat.cli.evaluate import convert, neighbours, open_artifacts
from embcompat.embeddings import Embeddings, pair_embeddings
from embcompat.errors import InputError
from embcompat.evaluation.qrels import Qrels, read_qrels


@dataclass(frozen=True, eq=False)
class RetrievalInputs:
    """Everything that `evaluate_retrieval` compares; with a pair of artifacts, the new side is converted too.

    Attributes:
        artifact: The artifact, or the forward one of a pair.
        fitted: Ids that it was fitted or chosen on.
        old: The gallery under the old model.
        new: The same items under the new model.
        converted: The same items, converted.
        old_queries: The queries under the old model.
        new_queries: The same queries under the new model.
        qrels: Which items are relevant to which queries.
        relevance: What says so: ``qrels``, ``labels`` or ``neighbours``.
        own_queries: Whether the queries are items of the gallery.
    """

    artifact: Artifact
    fitted: Set[str]
    old: Embeddings
    new: Embeddings
    converted: Embeddings
    old_queries: Embeddings
    new_queries: Embeddings
    qrels: Qrels
    relevance: str
    own_queries: bool


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
    artifact, backward = open_artifacts(path)
    pairs = pair_embeddings(old_gallery, new_gallery)
    old, new = pairs.source, pairs.target
    fitted = artifact.pair_ids("train", "validation")
    own_queries = queries is None
    if queries is None:
        held_out = [row for row, identifier in enumerate(pairs.ids.tolist()) if identifier not in fitted]
        if not held_out:
            raise InputError(
                "every gallery item was fitted on, so none can serve as a held-out query. "
                "Pass --old-queries, --new-queries and --qrels, or a gallery with other items."
            )
        queries = old.select(held_out), new.select(held_out)
    joined = pair_embeddings(*queries)
    old_q, new_q = joined.source, joined.target
    if qrels is not None:
        judged, relevance = read_qrels(qrels), "qrels"
    elif old_q.labels is not None and old.labels is not None:
        judged, relevance = Qrels.from_labels(old_q, old), "labels"
    else:
        judged, relevance = neighbours(new_q, new, exclude_self=own_queries), "neighbours"
    converted = convert(artifact, old)
    if backward is not None:
        new, new_q = convert(backward, new), convert(backward, new_q)
    return RetrievalInputs(artifact, fitted, old, new, converted, old_q, new_q, judged, relevance, own_queries)
