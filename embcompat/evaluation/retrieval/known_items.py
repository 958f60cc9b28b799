"""Judgements without judges: the title of an item is the query for the item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embcompat.errors import InputError
from embcompat.evaluation.retrieval.qrels import Qrels


@dataclass(frozen=True)
class KnownItems:
    """Queries and judgements of a known-item search: a proxy for what people ask.

    Attributes:
        queries: Query id → the title that asks.
        qrels: The items with that title, for each query.
        verbatim: Titles that stand in the body of their item word by word, which makes the search easy.
        untitled: Items without a title; no query asks for them.
    """

    queries: dict[str, str]
    qrels: Qrels
    verbatim: int
    untitled: int


def make_known_items(
    ids: Sequence[str],
    titles: Sequence[str],
    bodies: Sequence[str],
    *,
    keep_verbatim: bool = True,
    limit: int | None = None,
    seed: int = 0,
) -> KnownItems:
    """Make queries of titles: each asks for the items that have it.

    Source: Azzopardi, de Rijke and Balog, Building simulated queries for known-item topics (2007), in whose place the
    title stands here. Embed the bodies alone: where the gallery holds the titles as well, every model finds them.

    Args:
        ids: Ids of the items (n,).
        titles: Their titles (n,); blank where an item has none.
        bodies: Their bodies (n,).
        keep_verbatim: Whether titles that stand in the body word by word ask as well.
        limit: Draw at most so many queries.
        seed: Seed of the draw.

    Raises:
        InputError: If the lengths differ, the limit is not positive, or no query is left.

    Example:
        >>> made = make_known_items(["a", "b"], ["Wing flutter", ""], ["On the flutter of wings.", "Drag."])
        >>> made.queries, made.qrels.gains, made.verbatim, made.untitled
        ({'q-a': 'Wing flutter'}, {'q-a': {'a': 1.0}}, 0, 1)
    """
    if not len(ids) == len(titles) == len(bodies):
        raise InputError(
            f"ids, titles and bodies must be of one length. Got {len(ids)}, {len(titles)} and {len(bodies)}."
        )
    if limit is not None and limit < 1:
        raise InputError(f"limit must be a positive integer. Got {limit}.")
    queries: dict[str, str] = {}
    gains: dict[str, dict[str, float]] = {}
    query_of: dict[str, str] = {}
    verbatim = untitled = 0
    for identifier, title, body in zip(ids, titles, bodies, strict=True):
        plain = _plain(title)
        if not plain:
            untitled += 1
            continue
        inside = f" {plain} " in f" {_plain(body)} "
        verbatim += inside
        if inside and not keep_verbatim:
            continue
        query = query_of.setdefault(plain, f"q-{identifier}")
        queries.setdefault(query, title.strip())
        gains.setdefault(query, {})[identifier] = 1.0
    if not queries:
        raise InputError(
            f"no title can serve as a query: {untitled} of {len(ids)} items have none, and {verbatim} are in the body."
        )
    if limit is not None and limit < len(queries):
        rows = np.sort(np.random.default_rng(seed).choice(len(queries), size=limit, replace=False))
        chosen = [list(queries)[row] for row in rows]
        queries, gains = {query: queries[query] for query in chosen}, {query: gains[query] for query in chosen}
    return KnownItems(queries, Qrels(gains), verbatim, untitled)


def _plain(text: str) -> str:
    """Return words in lower case with one blank between, without punctuation."""
    return " ".join("".join(each if each.isalnum() else " " for each in text.casefold()).split())
