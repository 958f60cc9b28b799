"""The demo's texts under both models, and how long each step took."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from embcompat.cli.demo.texts import Docstring
from embcompat.cli.progress import track
from embcompat.embeddings import Embeddings, PairedEmbeddings, PairSplit, cut_texts, split_pairs
from embcompat.extractors import Extractor, extract_embeddings

PAIRS_FRACTION = 0.25
"""Share of the gallery that is embedded with both models, to fit the aligner on."""


@dataclass
class Stopwatch:
    """Seconds that the steps took, by name."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Add the time of a block to a step."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    @property
    def reindex(self) -> float:
        """Time to embed the whole gallery with the new model."""
        return self.seconds["documents"] + self.seconds["rest"]

    @property
    def convert(self) -> float:
        """Time to embed the pairs, their pieces and the words, to fit, and to convert."""
        return sum(self.seconds[name] for name in ("documents", "pieces", "table", "fit", "convert"))


@dataclass(frozen=True)
class Sides:
    """Queries and gallery under both models.

    Attributes:
        texts: The docstrings.
        old_queries: Summary lines, old model.
        new_queries: Summary lines, new model.
        old: Documents with their texts, old model.
        new: Documents, new model.
        split: The documents that serve as pairs, with their pieces: train and validation; the others are the test.
    """

    texts: Sequence[Docstring]
    old_queries: Embeddings
    new_queries: Embeddings
    old: Embeddings
    new: Embeddings
    split: PairSplit

    @property
    def fitted(self) -> set[str]:
        """Ids of the pairs, pieces included."""
        return {*self.split.train.ids.tolist(), *self.split.validation.ids.tolist()}

    @property
    def unfitted(self) -> NDArray[np.intp]:
        """Rows of the texts that are no pairs."""
        return np.flatnonzero(~np.isin(self.old.ids.astype(str), sorted(self.fitted)))

    @property
    def pair_texts(self) -> list[str]:
        """The texts of the pairs and their pieces."""
        parts = (self.split.train.texts, self.split.validation.texts)
        return [text for part in parts if part is not None for text in part.tolist()]


def embed_sides(
    texts: Sequence[Docstring], old_model: Extractor, new_model: Extractor, watch: Stopwatch, seed: int
) -> Sides:
    """Embed everything that is measured, and the pairs with their pieces.

    Args:
        texts: The docstrings.
        old_model: The model in use.
        new_model: The model to upgrade to.
        watch: Takes the times of ``documents`` and ``pieces`` (the pairs), and of the ``rest`` of the gallery, which
            only a reindex would embed.
        seed: Seed of the pairs and of the split.
    """
    new_model.extract(["the first call of a model pays for its set-up"])
    queries, documents = [text.summary for text in texts], [text.body for text in texts]
    ids = [text.name for text in texts]
    old = embed(old_model, documents, ids, "Old model, gallery")
    old_queries = embed(old_model, queries, ids, "Old model, queries")
    order = np.random.default_rng(seed).permutation(len(texts))
    count = round(PAIRS_FRACTION * len(texts))
    parts = []
    for name, rows in (("documents", order[:count]), ("rest", order[count:])):
        with watch.measure(name):
            part = [documents[row] for row in rows]
            parts.append(embed(new_model, part, [ids[row] for row in rows], f"New model, {name}"))
    new = stack(parts[0], parts[1]).select(np.argsort(order))
    pairs = _pair(old.select(order[:count]), parts[0], documents, order[:count], (old_model, new_model), watch)
    return Sides(
        texts,
        old_queries,
        embed(new_model, queries, ids, "New model, queries"),
        old.with_texts(dict(zip(ids, documents, strict=True))),
        new,
        split_pairs(pairs, validation=0.3, test=0, seed=seed),
    )


def _pair(
    old: Embeddings,
    new: Embeddings,
    documents: Sequence[str],
    rows: NDArray[np.int64],
    models: tuple[Extractor, Extractor],
    watch: Stopwatch,
) -> PairedEmbeddings:
    """Pair whole documents, and their pieces under both models."""
    cut = cut_texts([documents[row] for row in rows], old.ids.tolist())
    pieces, names = cut.items[len(old) :], cut.ids[len(old) :]
    with watch.measure("pieces"):
        new_pieces = embed(models[1], pieces, names, "New model, pieces")
    sides = (stack(old, embed(models[0], pieces, names, "Old model, pieces")), stack(new, new_pieces))
    source, target = (Embeddings(side.vectors, cut.ids, side.space, cut.labels, cut.items) for side in sides)
    return PairedEmbeddings(source, target)


def embed(model: Extractor, items: Sequence[str], ids: Sequence[str], what: str) -> Embeddings:
    """Embed texts and show the progress."""
    with track(what, len(items), unit="texts") as advance:
        return extract_embeddings(model, items, ids=ids, progress=advance)


def stack(first: Embeddings, second: Embeddings) -> Embeddings:
    """Concatenate the rows of two embeddings of one space."""
    vectors = np.concatenate([first.vectors, second.vectors])
    return Embeddings(vectors, [*first.ids.tolist(), *second.ids.tolist()], first.space)
