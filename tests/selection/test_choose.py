from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from typing import NoReturn

import numpy as np
import pytest

from embcompat.aligners import ReweightedAligner, fit_affine
from embcompat.embeddings import Embeddings, PairedEmbeddings, PairSplit, split_pairs, stack_pairs
from embcompat.errors import InputError
from embcompat.selection import (
    Candidate,
    Selection,
    choose,
    default_candidates,
    fit_corrected,
    learning_curve,
    parse_candidate,
    scoring,
    select_aligner,
)
from embcompat.selection.candidates import Correction, Task
from embcompat.selection.crossfit import CrossFit, cross_fit, fit_candidate
from embcompat.similarities import Similarity
from embcompat.testing import make_pairs

CHEAP = (Candidate("procrustes", "procrustes"), Candidate("ridge", "ridge"))


def shuffled(pairs: PairedEmbeddings) -> PairedEmbeddings:
    """Break every pair: what is left is no relation at all."""
    order = np.random.default_rng(0).permutation(len(pairs))
    target = pairs.target
    return PairedEmbeddings(pairs.source, Embeddings(target.vectors[order], target.ids, target.space))


def test_the_prior_order_decides_a_tie() -> None:
    parts = split_pairs(make_pairs(600, source_dim=12, target_dim=12, noise=0.001).pairs)
    for order in (CHEAP, CHEAP[::-1]):
        selection = select_aligner(parts.train, parts.validation, candidates=order)
        assert all(row.as_good for row in selection.candidates)
        assert selection.candidate == order[0]


@pytest.mark.parametrize("rows", [60, 900])
def test_progress_counts_every_fit_up_to_the_total(rows: int) -> None:
    totals: list[int] = []
    counts: list[int] = []

    def progress(total: int) -> nullcontext[Callable[[int], None]]:
        totals.append(total)
        return nullcontext(counts.append)

    parts = split_pairs(make_pairs(rows, source_dim=6, target_dim=6).pairs)
    select_aligner(parts.train, parts.validation, candidates=CHEAP, progress=progress)
    assert totals == [sum(counts)]


def test_identity_is_chosen_where_nothing_need_be_changed() -> None:
    pairs = make_pairs(300, source_dim=12, target_dim=12).pairs
    near = pairs.source.vectors + np.float32(1e-3)
    same = PairedEmbeddings(pairs.source, Embeddings(near, pairs.ids, pairs.target.space))
    assert _select(same).chosen.name == "identity"
    assert _select(pairs).chosen.name != "identity"


def _select(pairs: PairedEmbeddings) -> Selection:
    parts = split_pairs(pairs)
    return select_aligner(parts.train, parts.validation)


def test_a_better_one_wins_over_a_cheaper_one() -> None:
    # An affine map with very unequal stretches is beyond any rotation.
    pairs = make_pairs(900, source_dim=10, target_dim=10, how="affine", noise=0.01).pairs
    stretch = np.geomspace(0.05, 5, 10).astype(np.float32)
    source = Embeddings(pairs.source.vectors * stretch, pairs.ids, pairs.source.space)
    parts = split_pairs(PairedEmbeddings(source, pairs.target))
    selection = select_aligner(parts.train, parts.validation, candidates=CHEAP)
    assert selection.chosen.name == "ridge"
    assert not selection.candidates[0].as_good
    assert selection.candidates[0].against_best.high < 0


def test_pairs_that_are_not_pairs_score_as_chance(split: PairSplit) -> None:
    broken = select_aligner(shuffled(split.train), shuffled(split.validation), candidates=CHEAP)
    whole = select_aligner(split.train, split.validation, candidates=CHEAP)
    assert broken.chosen.score.value < 0.5 < whole.chosen.score.value


def test_verification_chooses_by_how_well_subjects_are_kept_apart() -> None:
    pairs = make_pairs(1_200, source_dim=16, target_dim=16, noise=0.2, subjects=200, normalized=True).pairs
    parts = split_pairs(pairs)
    useless = Candidate("of rank 1", "low_rank", {"rank": 1})
    for objective in ("balanced", "lowest_far"):
        selection = select_aligner(
            parts.train, parts.validation, task="verification", candidates=(useless, *CHEAP), objective=objective
        )
        assert selection.chosen.name in ("procrustes", "ridge")
        assert not selection.candidates[0].as_good
        json.dumps([row.to_dict() for row in selection.candidates], allow_nan=False)


@pytest.mark.parametrize(
    ("task", "similarity", "corrections"),
    [
        ("verification", "euclidean", {"reweighted", "stretched", None}),
        ("verification", "dot", {"stretched", None}),
        ("retrieval", "euclidean", {None}),
    ],
)
def test_a_target_of_lengths_is_stretched_and_reweighted_by_distance_alone(
    task: Task, similarity: Similarity, corrections: set[str | None]
) -> None:
    pairs = make_pairs(60, source_dim=4, target_dim=5, subjects=20, similarity=similarity).pairs
    assert {each.correction for each in default_candidates(task, pairs)} == corrections


def test_a_stretched_aligner_varies_as_the_target() -> None:
    pairs = make_pairs(600, source_dim=10, target_dim=10, noise=0.4, subjects=100, similarity="euclidean").pairs
    parts = split_pairs(pairs)
    closed_forms = ["kernel, stretched", "ridge, stretched", "ridge"]
    selection = select_aligner(parts.train, parts.validation, task="verification", candidates=closed_forms)
    stretched = fit_corrected(parse_candidate("ridge, stretched"), parts.train, parts.validation)
    spread = stretched.transform(parts.test.source.vectors).var(axis=0).sum()
    assert spread == pytest.approx(parts.test.target.vectors.var(axis=0).sum(), rel=0.15)
    assert selection.chosen.name in closed_forms


def test_a_space_of_directions_is_never_stretched() -> None:
    pairs = make_pairs(60, source_dim=4, target_dim=5, normalized=True).pairs
    names = [each.name for each in default_candidates("verification", pairs)]
    assert "kernel, reweighted" in names
    assert not [name for name in names if "stretched" in name]
    assert [each.name for each in default_candidates("retrieval", pairs)] == ["kernel", "ridge", "procrustes"]


def test_the_chosen_one_is_fitted_on_all_pairs_that_were_given(split: PairSplit) -> None:
    selection = select_aligner(split.train, split.validation, candidates=["ridge"])
    expected = fit_affine(split.train, split.validation, refit=True)
    np.testing.assert_array_equal(selection.aligner.state()["weight"], expected.weight)


def test_many_pairs_are_compared_on_a_sample_and_fitted_on_all(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = split_pairs(make_pairs(3_000, source_dim=8, target_dim=8, noise=0.2, subjects=300).pairs)
    compared = []

    def record(entrants: object, pairs: PairedEmbeddings, **options: object) -> object:
        compared.append(pairs)
        return cross_fit(entrants, pairs, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(choose, "cross_fit", record)
    monkeypatch.setattr(choose, "COMPARED_PAIRS", 500)
    monkeypatch.setattr(choose, "COMPARED_LABELS", 20)
    selection = select_aligner(parts.train, parts.validation, candidates=CHEAP)
    pairs = compared[0]
    assert selection.compared == len(pairs)
    assert 350 <= len(pairs) <= 700
    whole = stack_pairs(parts.train, parts.validation)
    names, counts = np.unique(pairs.labels, return_counts=True)
    assert counts.tolist() == [int(np.sum(whole.labels == name)) for name in names]
    alone = fit_candidate(selection.candidate, parts.train, parts.validation)
    assert np.array_equal(selection.aligner.state()["weight"], alone.state()["weight"])


def test_the_correction_of_many_pairs_is_fitted_on_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = split_pairs(make_pairs(3_000, source_dim=8, target_dim=8, noise=0.2, normalized=True).pairs)
    compared = []

    def record(entrants: object, pairs: PairedEmbeddings, **options: object) -> object:
        compared.append(len(pairs))
        return cross_fit(entrants, pairs, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(choose, "cross_fit", record)
    monkeypatch.setattr(choose, "COMPARED_PAIRS", 900)
    candidate = parse_candidate("ridge, reweighted")
    fitted = fit_corrected(candidate, parts.train, parts.validation)
    assert 850 <= compared[0] <= 950
    alone = fit_candidate(candidate, parts.train, parts.validation)
    assert isinstance(fitted, ReweightedAligner)
    np.testing.assert_array_equal(fitted.base.state()["weight"], alone.state()["weight"])


def test_a_sample_has_labels_enough_for_every_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = split_pairs(make_pairs(900, source_dim=8, target_dim=8, subjects=30).pairs)
    monkeypatch.setattr(choose, "COMPARED_PAIRS", 50)
    selection = select_aligner(parts.train, parts.validation, candidates=CHEAP)
    assert selection.chosen.score.value > 0.5


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sizes", [[200, *[29] * 7], [400, *[30] * 9]])
@pytest.mark.parametrize("task", ["retrieval", "verification"])
def test_a_few_large_labels_leave_labels_enough_for_every_fold(
    monkeypatch: pytest.MonkeyPatch, sizes: list[int], seed: int, task: Task
) -> None:
    monkeypatch.setattr(scoring, "SCORED_ROWS", 300)
    pairs = make_pairs(sum(sizes), source_dim=6, target_dim=6, noise=0.1, normalized=True).pairs
    labels = np.repeat([f"topic {number}" for number in range(len(sizes))], sizes)
    source, target = (Embeddings(side.vectors, pairs.ids, side.space, labels) for side in (pairs.source, pairs.target))
    labelled = PairedEmbeddings(source, target)
    rows = np.arange(len(labelled))
    parts = labelled.select(rows), labelled.select(rows[:0])
    assert select_aligner(*parts, task=task, candidates=["ridge"], seed=seed).chosen.name == "ridge"


@pytest.mark.parametrize(("count", "folds"), [(200, 4), (750, 2), (2_000, 1)])
@pytest.mark.parametrize("correction", [None, "reweighted"])
def test_only_what_is_scored_is_held_out_where_no_correction_reads_more(
    monkeypatch: pytest.MonkeyPatch, count: int, folds: int, correction: Correction | None
) -> None:
    fits: list[CrossFit] = []

    def record(entrants: object, pairs: PairedEmbeddings, **options: object) -> object:
        fits.extend(results := cross_fit(entrants, pairs, **options))  # type: ignore[arg-type]
        return results

    monkeypatch.setattr(choose, "cross_fit", record)
    monkeypatch.setattr(choose, "FEW_PAIRS", 0)
    monkeypatch.setattr(scoring, "SCORED_ROWS", 300)
    parts = split_pairs(make_pairs(count, source_dim=6, target_dim=6, noise=0.3, normalized=True).pairs)
    candidate = Candidate("ridge", "ridge", correction=correction)
    selection = select_aligner(parts.train, parts.validation, candidates=[candidate])
    held_out = fits[0].fold >= 0
    assert selection.compared == len(held_out) == len(parts.train) + len(parts.validation)
    if correction is None:
        assert (fits[0].fold.max() + 1, np.count_nonzero(held_out)) == (folds, min(300, len(held_out)))
    else:
        assert fits[0].fold.max() + 1 == choose.FOLDS
        assert held_out.all()


def test_verification_needs_labels_and_says_so_before_the_first_fit(split: PairSplit) -> None:
    def begin(total: int) -> NoReturn:
        pytest.fail(f"{total} fits began")

    with pytest.raises(InputError, match="needs a label, the subject, of each pair"):
        select_aligner(split.train, split.validation, task="verification", candidates=CHEAP, progress=begin)
    pairs = make_pairs(40, source_dim=12, target_dim=8, subjects=39).pairs
    few = pairs.select(np.arange(30)), pairs.select(np.arange(30, 40))
    with pytest.raises(InputError, match="two or more held-out subjects with two or more pairs"):
        select_aligner(*few, task="verification", candidates=CHEAP, progress=begin)


def test_pairs_of_aligners_cannot_be_compared(split: PairSplit) -> None:
    with pytest.raises(InputError, match="fits a pair"):
        select_aligner(split.train, split.validation, candidates=[Candidate("cca", "canonical")])
    with pytest.raises(InputError, match="at least one candidate"):
        select_aligner(split.train, split.validation, candidates=[])


def test_a_learning_curve_rises_and_says_when_to_stop() -> None:
    parts = split_pairs(make_pairs(4_000, source_dim=12, target_dim=12, noise=0.05).pairs)
    curve = learning_curve("ridge", parts.train, parts.validation, sizes=[15, 100, 1_000, 2_000])
    values = [score.value for score in curve.values]
    assert values[0] < values[-1]
    assert 15 < curve.enough <= 1_000
    assert "enough" in curve.verdict
    assert json.loads(json.dumps(curve.to_dict()))["pairs"] == [15, 100, 1_000, 2_000]


def test_sizes_out_of_range_are_refused(split: PairSplit) -> None:
    with pytest.raises(InputError, match="between 2 and"):
        learning_curve("ridge", split.train, split.validation, sizes=[10, 10_000])
