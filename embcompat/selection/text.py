"""Fit a text-aware aligner: each part of it is kept only where held-out pairs are better for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from embcompat.aligners import Aligner, ReweightedAligner, unweight
from embcompat.aligners.ensemble import EnsembleAligner
from embcompat.aligners.kernel import DEFAULT_LANDMARKS, fit_kernel
from embcompat.aligners.output import reweight
from embcompat.aligners.text import StaticEncoder, TextAwareAligner
from embcompat.embeddings import Embeddings, PairedEmbeddings, piece_rows, split_pairs, stack_pairs
from embcompat.errors import InputError
from embcompat.evaluation.bootstrap import bootstrap_difference, bootstrap_mean
from embcompat.results import Estimate
from embcompat.selection.prior import FitKernel, fit_towards_words
from embcompat.selection.scoring import HeldOutQueries
from embcompat.spaces import SpaceVersion

PENALTY = 0.02
"""Penalty of the kernels [ours]: with words beside the vectors, little shrinkage is best from a hundred pairs on."""

LANDMARKS = 1_000
"""Landmarks of kernels that read words [ours]: as good as 2,500 there, and 1.7 times as fast; not without words."""


@dataclass(frozen=True)
class Part:
    """A part of a text-aware aligner that was tried.

    Attributes:
        name: ``plain``, ``pieces``, ``words``, ``bigrams`` or ``reweighting``.
        score: Share of native neighbours that held-out queries find, with this part and those that were kept before;
            for ``reweighting``, how far a piece's own item stands out among the others.
        gain: Paired difference from the score without it; None for the first.
        used: Whether it was kept.
    """

    name: str
    score: Estimate
    gain: Estimate | None
    used: bool

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the part as JSON."""
        gain: JsonValue = None if self.gain is None else dict(self.gain.to_dict())
        return {"name": self.name, "score": dict(self.score.to_dict()), "gain": gain, "used": self.used}


@dataclass(frozen=True, eq=False)
class TextAwareFit:
    """A fitted aligner and how its parts were chosen.

    Attributes:
        aligner: A `TextAwareAligner`; one of vectors alone where words were of no use.
        parts: What was tried, in that order.
        held_out: What was fitted on the training pairs alone, with the same parts: its figures on held-out pairs are a
            lower bound of the aligner's.
        fit_again: Fits the same parts again, on further pairs as well.
    """

    aligner: Aligner
    parts: tuple[Part, ...]
    held_out: Aligner
    fit_again: Callable[[PairedEmbeddings], Aligner]

    @property
    def unweighted(self) -> Aligner:
        """The aligner before `reweight`; itself where that was left out.

        Scores of its rows are nearly on the scale of native ones: take it where native rows are to stand among
        converted ones, as in a lazy or partial backfill.
        """
        return unweight(self.aligner)


def fit_text_aware(
    train: PairedEmbeddings,
    validation: PairedEmbeddings,
    *,
    encoder: StaticEncoder,
    landmarks: int | None = None,
    seed: int = 0,
) -> TextAwareFit:
    """Fit kernel aligners of [old vector ; words ; pairs of words], and keep what held-out pairs are better for.

    The parts, each compared with what was kept before it: a second aligner, fitted on the pieces that `cut_texts` cut
    too, averaged with the first; words beside the vector, towards which the map is shrunk (`fit_towards_words`);
    frequent pairs of words; and, where there are pieces, `reweight`. Words are kept where the interval of their paired
    gain is above 0, the others where their mean gain is. The score is the share of native neighbours that a held-out
    query finds among the converted held-out items; the queries are the pieces where there are some, since they resemble
    queries most, and the items otherwise. Reweighting is meant to change which neighbours those are; it is scored by
    how far a piece's own item stands out: its score less the mean of the others, in their standard deviations. What was
    kept is fitted again on all pairs. [ours]

    Args:
        train: Pairs to fit on, with texts; those without a known word serve the plain part alone.
        validation: Held-out pairs, with texts.
        encoder: The static encoder, see `build_static_encoder`.
        landmarks: Landmarks of each kernel; `LANDMARKS` where it reads words and 2,500 where it does not, when None.
        seed: Seed of the landmarks and of the bootstrap.

    Raises:
        InputError: If half of the pairs have no text, or there are fewer than two whole items among the held-out pairs.
    """
    for name, pairs in (("train", train), ("validation", validation)):
        count = 0 if pairs.texts is None else np.count_nonzero(pairs.texts != "")
        if 2 * count <= len(pairs):
            raise InputError(
                f"a text_aware aligner is fitted on pairs with texts. Only {count} of the {len(pairs)} {name} pairs "
                "have one. Add them with Embeddings.with_texts (on the command line --items)."
            )
    plain, worded = (
        partial(fit_kernel, landmarks=usual if landmarks is None else landmarks, penalty=PENALTY, seed=seed)
        for usual in (DEFAULT_LANDMARKS, LANDMARKS)
    )
    fits = _Fits(train, validation, encoder, (plain, worded))
    trials = _Trials(fits, seed)
    if trials.has_pieces:
        trials.attempt("pieces", replace(trials.variant, pieces=True))
    trials.attempt("words", replace(trials.variant, words=True), surely=True)
    if trials.variant.words and len(encoder.bigrams):
        trials.attempt("bigrams", replace(trials.variant, bigrams=True))
    trials.attempt_reweighting()
    variant = trials.variant
    aligner, held_out = (fits.assemble(variant, refit=refit) for refit in (True, False))

    def fit_again(further: PairedEmbeddings) -> Aligner:
        return fits.extended_by(further).assemble(variant, refit=True)

    return TextAwareFit(aligner, tuple(trials.parts), held_out, fit_again)


@dataclass(frozen=True)
class _Variant:
    """Which parts an aligner has."""

    pieces: bool = False
    words: bool = False
    bigrams: bool = False
    reweighted: bool = False


class _Fits:
    """What was fitted, by its parts: on the training pairs, and again on all of them."""

    def __init__(
        self,
        train: PairedEmbeddings,
        validation: PairedEmbeddings,
        encoder: StaticEncoder,
        fits: tuple[FitKernel, FitKernel],
    ) -> None:
        self.train, self.validation, self.encoder, self._fits = train, validation, encoder, fits
        self._features = [
            encoder.encode([] if pairs.texts is None else pairs.texts.tolist()) for pairs in (train, validation)
        ]
        self._members: dict[tuple[_Variant, bool], Aligner] = {}

    def extended_by(self, pairs: PairedEmbeddings) -> _Fits:
        """Return nothing fitted yet, with further training pairs."""
        return _Fits(stack_pairs(self.train, pairs), self.validation, self.encoder, self._fits)

    def assemble(self, variant: _Variant, *, refit: bool) -> Aligner:
        """Return the aligner with the given parts, ready to be saved."""
        plain = self.map(replace(variant, words=False, bigrams=False), refit=refit)
        if not variant.words:
            return plain
        encoder = self.encoder if variant.bigrams else self.encoder.without_bigrams()
        return TextAwareAligner(encoder, self.map(variant, refit=refit), plain)

    def map(self, variant: _Variant, *, refit: bool) -> Aligner:
        """Return the map of vectors, extended by features where the variant has words."""
        if variant.reweighted:
            bare = replace(variant, reweighted=False)
            converted = self.converted(bare)
            return self.reweighted(self.map(bare, refit=refit), self.extended(1, variant), converted)
        members = [self._member(replace(variant, pieces=False), refit=refit)]
        if not variant.pieces:
            return members[0]
        members.append(self._member(variant, refit=refit))
        return EnsembleAligner(members, normalize=self.train.target.space.normalized)

    def reweighted(
        self, aligner: Aligner, pairs: PairedEmbeddings, converted: NDArray[np.float32]
    ) -> ReweightedAligner:
        """Reweight a map by held-out pairs and what was made of them, about the mean of the whole items."""
        centre = converted[~piece_rows(pairs)].mean(axis=0, dtype=np.float64)
        return reweight(aligner, pairs, labelled=self._labelled(), converted=converted, centre=centre)

    def converted(self, variant: _Variant) -> NDArray[np.float32]:
        """Convert the validation pairs with what was fitted without them."""
        return self.map(variant, refit=False).transform(self.extended(1, variant).source.vectors)

    def extended(self, part: int, variant: _Variant) -> PairedEmbeddings:
        """Return the training (0) or validation (1) pairs, their source vectors beside the features of a variant."""
        pairs = (self.train, self.validation)[part]
        if not variant.words:
            return pairs
        features = self._features[part]
        if not variant.bigrams:
            features = features[:, : self.encoder.without_bigrams().dim]
        source = pairs.source
        vectors = np.hstack([source.vectors, features])
        space = SpaceVersion(name="with-words", version="1", dim=vectors.shape[1], similarity="dot")
        return PairedEmbeddings(Embeddings.trusted(vectors, source.ids, space, source.labels), pairs.target)

    def _member(self, variant: _Variant, *, refit: bool) -> Aligner:
        key = (variant, refit)
        if key not in self._members:
            parts = []
            for part, features in enumerate(self._features):
                pairs = self.extended(part, variant)
                rows = features.any(axis=1) if variant.words else np.ones(len(pairs), dtype=bool)
                parts.append(pairs.select(rows if variant.pieces else rows & ~piece_rows(pairs)))
            width = parts[0].source.space.dim - self.train.source.space.dim
            plain, worded = self._fits
            fit = partial(fit_towards_words, fit=worded, features=width) if variant.words else plain
            self._members[key] = fit(*parts, refit=refit)
        return self._members[key]

    def _labelled(self) -> Embeddings | None:
        """Return all target vectors with their labels, where the pairs have some."""
        if self.train.labels is None or self.validation.labels is None:
            return None
        pairs = stack_pairs(self.train, self.validation)
        return Embeddings.trusted(pairs.target.vectors, pairs.ids, pairs.target.space, pairs.labels)


class _Trials:
    """Tries one part after the other, and keeps what is better."""

    def __init__(self, fits: _Fits, seed: int) -> None:
        self.fits, self.seed = fits, seed
        self.has_pieces = bool(piece_rows(fits.train).any() and piece_rows(fits.validation).any())
        self.variant, self.parts = _Variant(), list[Part]()
        self._queries = HeldOutQueries(fits.validation)
        self._values = self._queries.score(fits.converted(self.variant))
        self.parts.append(Part("plain", bootstrap_mean(self._values, seed=seed), None, True))

    def attempt(self, name: str, variant: _Variant, *, surely: bool = False) -> None:
        """Try a variant; keep it where it gains on average, or ``surely`` where the interval of the gain is above 0."""
        values = self._queries.score(self.fits.converted(variant))
        if self._record(name, values, self._values, surely=surely):
            self.variant, self._values = variant, values

    def attempt_reweighting(self) -> None:
        """Try `reweight`: fitted on one half of the held-out pairs and scored on the other, both ways round."""
        space = self.fits.validation.target.space
        if not (self.has_pieces and (space.normalized or space.similarity == "cosine")):
            return
        pairs, converted = self.fits.extended(1, self.variant), self.fits.converted(self.variant)
        halves = split_pairs(pairs, validation=0, test=0.5, seed=self.seed)
        scorers = [HeldOutQueries(half) for half in (halves.train, halves.test)]
        row_of = {identifier: row for row, identifier in enumerate(pairs.ids.tolist())}
        rows = [np.array([row_of[name] for name in half.ids.tolist()]) for half in (halves.train, halves.test)]
        aligner = self.fits.map(self.variant, refit=False)
        without, weighted = [], []
        for part, rest, half in ((0, 1, halves.test), (1, 0, halves.train)):
            corrected = self.fits.reweighted(aligner, half, converted[rows[rest]])
            without.append(scorers[part].margins(converted[rows[part]]))
            weighted.append(scorers[part].margins(corrected.transform(pairs.source.vectors[rows[part]])))
        if self._record("reweighting", np.concatenate(weighted), np.concatenate(without), surely=False):
            self.variant = replace(self.variant, reweighted=True)

    def _record(self, name: str, values: NDArray[np.float64], base: NDArray[np.float64], *, surely: bool) -> bool:
        gain = bootstrap_difference(values, base, seed=self.seed)
        used = (gain.low if surely else gain.value) > 0
        self.parts.append(Part(name, bootstrap_mean(values, seed=self.seed), gain, used))
        return used
