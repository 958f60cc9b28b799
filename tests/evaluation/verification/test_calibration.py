"""Threshold transfer: a known change of scale is found, doubts are said, nothing is extrapolated."""

from __future__ import annotations

import json

import numpy as np
import pytest

from embcompat.errors import InputError
from embcompat.evaluation.verification.calibration import ENOUGH_ERRORS, ThresholdTransfer, transfer_threshold
from embcompat.evaluation.verification.figures import rates_at, threshold_at_frr
from embcompat.evaluation.verification.pairs import VerificationPairs


def made_pairs(scale=1.0, noise=0.7, *, subjects=200, seed=0, similarity="euclidean"):
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((subjects, 6))
    sides = [scale * (centres + noise * rng.standard_normal(centres.shape)) for _ in range(2)]
    return VerificationPairs(*sides, np.arange(subjects), np.arange(subjects), similarity)


def test_a_change_of_scale_changes_the_threshold_by_that_scale():
    original, after = made_pairs(), made_pairs(3.0)
    transfer = transfer_threshold(original, after, -1.5, replicates=50)
    assert transfer.threshold.value == pytest.approx(-4.5, rel=0.02)
    assert transfer.threshold.low <= -4.5 * 0.98
    assert transfer.threshold.high >= -4.5 * 1.02
    assert rates_at(after, transfer.threshold.value).false_acceptances == transfer.impostor_errors
    assert transfer.frr.value == pytest.approx(transfer.old_frr, abs=0.01)
    assert transfer.warning is None


def test_the_false_acceptance_rate_is_kept_and_what_it_costs_is_told():
    original, after = made_pairs(noise=0.4), made_pairs(noise=0.8, seed=1)
    threshold = threshold_at_frr(original.genuine.scores, 0.05, votes=original.genuine.votes)
    transfer = transfer_threshold(original, after, threshold, replicates=50)
    old, new = rates_at(original, threshold), rates_at(after, transfer.threshold.value)
    assert transfer.far.value == old.far
    assert new.far <= old.far
    assert rates_at(after, float(np.nextafter(transfer.threshold.value, -np.inf))).far > old.far
    assert (transfer.old_frr, transfer.frr.value) == (old.frr, new.frr)
    assert transfer.frr.value > transfer.old_frr
    assert transfer.frr.low <= transfer.frr.value <= transfer.frr.high
    assert transfer.far.low <= transfer.far.value <= transfer.far.high


def test_too_few_errors_are_said():
    original = made_pairs()
    scores = np.sort(naive_impostors(original))[::-1]
    between = (scores[:-1] + scores[1:]) / 2  # between[k - 1] lets k pairs through
    few = transfer_threshold(original, made_pairs(2.0), float(between[ENOUGH_ERRORS - 2]), replicates=10)
    assert few.impostor_errors == ENOUGH_ERRORS - 1
    assert "29 false acceptances in 39,800 held-out impostor pairs; below 30" in few.warning
    enough = transfer_threshold(original, made_pairs(2.0), float(between[ENOUGH_ERRORS - 1]), replicates=10)
    assert (enough.impostor_errors, enough.warning) == (ENOUGH_ERRORS, None)


def test_without_errors_the_threshold_is_the_highest_impostor_score_seen():
    original, after = made_pairs(), made_pairs(2.0)
    transfer = transfer_threshold(original, after, -1e-9, replicates=20)
    assert transfer.impostor_errors == 0
    assert transfer.threshold.value == pytest.approx(naive_impostors(after).max())
    assert transfer.far.high == pytest.approx(3 / transfer.impostor_pairs)
    assert "0 false acceptances" in transfer.warning


def test_a_transfer_survives_json():
    transfer = transfer_threshold(made_pairs(), made_pairs(2.0), -1.2, replicates=20)
    values = json.loads(json.dumps(transfer.to_dict(), allow_nan=False))
    assert values["warning"] == transfer.warning
    assert ThresholdTransfer.from_dict(values) == transfer
    with pytest.raises(InputError, match="not a threshold transfer: KeyError"):
        ThresholdTransfer.from_dict({})


def test_messages():
    original = made_pairs()
    with pytest.raises(InputError, match="same subjects with equally many rows"):
        transfer_threshold(original, made_pairs(subjects=100), -1.0)
    with pytest.raises(InputError, match="must be a finite score. Got nan"):
        transfer_threshold(original, made_pairs(), np.nan)
    with pytest.raises(InputError, match="a cosine, from -1 to 1. Got 1.5. .*1 minus the distance"):
        transfer_threshold(made_pairs(similarity="cosine"), made_pairs(similarity="cosine"), 1.5)
    with pytest.raises(InputError, match="at most 0. Got 1.1. Pass -1.1"):
        transfer_threshold(original, original, 1.1)
    with pytest.raises(InputError, match="which accepts all of them"):
        transfer_threshold(original, made_pairs(), -1e9)


def naive_impostors(pairs):
    distances = np.linalg.norm(pairs.anchors[:, np.newaxis] - pairs.positives, axis=2)
    return -distances[~np.eye(len(distances), dtype=bool)]
