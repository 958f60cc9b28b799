"""From pairs to an artifact, in one call: split, choose, measure, fit again on all pairs, save."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embcompat.aligners import Aligner, AlignerPair, shared_space
from embcompat.artifact import Artifact
from embcompat.embeddings import PairedEmbeddings, PairSplit, piece_rows, split_pairs, stack_pairs
from embcompat.errors import InputError
from embcompat.evaluation.chance import is_at_chance
from embcompat.export import Canary, save_aligner_pair, save_artifact
from embcompat.progress import ProgressFactory, silent
from embcompat.results import Estimate
from embcompat.selection.candidates import Candidate, Task, parse_candidate
from embcompat.selection.choose import Selection, fit_corrected, held_out_gain, select_aligner
from embcompat.selection.fitting import PAIR_KINDS, TORCH_KINDS, fit_aligner
from embcompat.selection.scoring import Objective
from embcompat.selection.text import TextAwareFit

AUTO = "auto"


@dataclass(frozen=True, eq=False)
class FittedArtifact:
    """The result of `fit_artifact`.

    Attributes:
        aligner: The saved aligner, or pair of aligners.
        artifacts: One artifact, or forward and backward of a pair.
        split: The parts of the pairs; the figures are measured on ``test``.
        selection: The selection, if the kind was ``auto``; None otherwise.
        refitted: Whether the saved aligner was fitted on all pairs; the figures, of the aligner of the split, are then
            a lower bound.
        words: The text-aware fit, if ``fit_words`` was given; None otherwise.
        words_gain: What it gains over the chosen aligner of vectors alone on held-out pairs, where the kind was
            ``auto``; it is saved only where the interval is above 0.
    """

    aligner: Aligner | AlignerPair
    artifacts: tuple[Artifact, ...]
    split: PairSplit
    selection: Selection | None
    refitted: bool
    words: TextAwareFit | None = None
    words_gain: Estimate | None = None

    @property
    def at_chance(self) -> bool:
        """Whether conversions of held-out items are no better than chance."""
        return any(is_at_chance(artifact) for artifact in self.artifacts)


def fit_artifact(
    pairs: PairedEmbeddings,
    path: str | Path,
    *,
    kind: str = AUTO,
    task: Task = "retrieval",
    objective: Objective = "balanced",
    candidates: Sequence[Candidate | str] | None = None,
    validation: float = 0.175,
    test: float = 0.2,
    refit: bool | None = None,
    int8: bool = False,
    canary: Canary = True,
    score_cohort: int = 0,
    score_statistics: bool = False,
    overwrite: bool = False,
    seed: int = 0,
    selection_progress: ProgressFactory = silent,
    fit_words: Callable[[PairSplit], TextAwareFit] | None = None,
    **options: Any,
) -> FittedArtifact:
    """Fit an aligner on pairs and save it with its figures on held-out pairs: all that ``embcompat fit`` does.

    The pairs are split once, by label where they have labels. The kind is chosen, or fitted, on train and validation;
    the figures are measured on test; then the same kind is fitted on all pairs and saved.

    Args:
        pairs: The same items under both models.
        path: The artifact directory to create.
        kind: ``auto``, which chooses by `select_aligner`; one of `KINDS`; or a kind with a correction, such as
            ``"kernel, reweighted"``.
        task: The task that ``auto`` chooses for.
        objective: What counts as best in verification, see `Objective`.
        candidates: The candidates of ``auto``, see `select_aligner`.
        validation: Fraction of the pairs for penalties and stopping.
        test: Fraction of the pairs to measure on.
        refit: Whether to fit again on all pairs. When None: yes, except for a neural kind that is given by name, which
            trains long and as its recipe says.
        int8: Whether the graph computes in int8.
        canary: Whether to store 64 pairs, on which every conversion is tested, or ``"blended"``; see `save_artifact`.
        score_cohort: How many fitted people to store, see `save_artifact`.
        score_statistics: Whether to store statistics of fitted people instead, see `save_artifact`.
        overwrite: Whether an artifact at the path may be replaced.
        seed: Seed of split, folds and fits.
        fit_words: Fits a text-aware aligner on train and validation (`fit_text_aware`), for the kind ``text_aware``; or
            for ``auto``, which saves it if the interval of its gain on held-out pairs lies above 0.
        selection_progress: Takes the number of fits of ``auto``; yields a function that takes the number of those newly
            done.
        options: Options of the kind's fit, see `fit_aligner`.

    Raises:
        InputError: If there are too few pairs, an option does not suit the kind, or the path exists already.
    """
    split = split_pairs(pairs, validation=validation, test=test, seed=seed)
    if kind in PAIR_KINDS:
        if int8:
            raise InputError(f"int8 is for single aligners. Got the kind {kind!r}, which fits a pair.")
        if score_cohort or score_statistics:
            raise InputError(f"a score cohort is for single aligners. Got the kind {kind!r}, which fits a pair.")
        return _fit_pair(split, Path(path), kind, seed=seed, overwrite=overwrite, **options)
    selection = gain = None
    words = None if fit_words is None else fit_words(split)
    takes_words = words is not None
    if words is not None and kind != AUTO:
        candidate, measured = Candidate(kind, kind), words.aligner
    elif kind == AUTO:
        if options:
            raise InputError(f"options of a fit need a kind that takes them. Got {', '.join(options)} for 'auto'.")
        selection = select_aligner(
            split.train,
            split.validation,
            task=task,
            candidates=candidates,
            objective=objective,
            seed=seed,
            progress=selection_progress,
        )
        candidate, measured = selection.candidate, selection.aligner
        if words is not None:
            gain = held_out_gain(words.held_out, candidate, split, seed=seed)
            takes_words = gain.low > 0
            measured = words.aligner if takes_words else measured
    else:
        candidate = parse_candidate(kind, options)
        measured = fit_corrected(candidate, split.train, split.validation, seed=seed)
    if refit is None:
        refit = kind == AUTO or candidate.kind not in TORCH_KINDS
    refit = refit and len(split.test) > 0
    aligner = measured
    if refit and words is not None and takes_words:
        aligner = words.fit_again(split.test)
    elif refit:
        aligner = fit_corrected(candidate, stack_pairs(split.train, split.test), split.validation, seed=seed)
    artifact = save_artifact(
        aligner,
        path,
        source=pairs.source.space,
        target=pairs.target.space,
        split=split,
        measured=measured,
        refitted=refit,
        int8=int8,
        canary=canary,
        score_cohort=score_cohort,
        score_statistics=score_statistics,
        overwrite=overwrite,
    )
    return FittedArtifact(aligner, (artifact,), split, selection, refit, words, gain)


def leave_out(pairs: PairedEmbeddings, items: Collection[str]) -> tuple[PairedEmbeddings, int]:
    """Leave out the pairs of some items and of their pieces, so that the queries that they answer stay held out.

    Args:
        pairs: All pairs.
        items: Ids to leave out, for instance `Qrels.relevant_items`.

    Returns:
        The other pairs, and how many were left out.

    Raises:
        InputError: If no pair is left.
    """
    names = np.array([identifier in items for identifier in pairs.ids.tolist()], dtype=bool)
    pieces = piece_rows(pairs)
    if pieces.any() and pairs.labels is not None:
        names[pieces] = [label in items for label in pairs.labels[pieces].tolist()]
    if names.all():
        raise InputError(f"some pairs must be of items that answer no query. All {len(pairs)} items answer one.")
    return pairs.select(~names), int(np.count_nonzero(names))


def _fit_pair(split: PairSplit, path: Path, kind: str, *, seed: int, overwrite: bool, **options: Any) -> FittedArtifact:
    pair = fit_aligner(kind, split.train, split.validation, seed=seed, **options)
    if not isinstance(pair, AlignerPair):
        raise InputError(f"{kind} must fit a pair of aligners. Got {type(pair).__name__}.")
    old, new = split.train.source.space, split.train.target.space
    shared = shared_space(old, new, pair, method=kind)
    artifacts = save_aligner_pair(pair, path, old=old, new=new, shared=shared, split=split, overwrite=overwrite)
    return FittedArtifact(pair, artifacts, split, None, refitted=False)
