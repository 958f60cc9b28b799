"""Identification against the loop over probes."""

from __future__ import annotations

import numpy as np
import pytest

from embcompat.embeddings import Embeddings
from embcompat.errors import InputError, SpaceMismatchError
from embcompat.evaluation.verification import identification
from embcompat.evaluation.verification.identification import identification_scores, open_set_rates, rank_accuracy
from embcompat.spaces import SpaceVersion

SPACE = SpaceVersion(name="faces", version="1", dim=4, similarity="euclidean")


def made(noise=0.7, *, enrolled=30, strangers=20, seed=0):
    rng = np.random.default_rng(seed)
    people = rng.standard_normal((enrolled + strangers, 4))
    gallery = np.repeat(people[:enrolled], 2, axis=0)
    gallery = gallery + noise * rng.standard_normal(gallery.shape)
    order = rng.permutation(len(gallery))
    labels = np.repeat([f"p{row}" for row in range(enrolled)], 2)[order]
    probes = people + noise * rng.standard_normal(people.shape)
    return (
        Embeddings(gallery[order], [f"g{row}" for row in range(len(gallery))], SPACE, labels.tolist()),
        Embeddings(probes, [f"q{row}" for row in range(len(probes))], SPACE, [f"p{row}" for row in range(len(probes))]),
    )


def naive(gallery, probes):
    """Best score by subject, for each probe."""
    tables = []
    for vector in probes.vectors:
        table = {}
        for other, label in zip(gallery.vectors, gallery.labels, strict=True):
            score = -float(np.linalg.norm(vector.astype(np.float64) - other))
            table[label] = max(score, table.get(label, -np.inf))
        tables.append(table)
    return tables


def test_scores_equal_the_loop(monkeypatch):
    gallery, probes = made()
    tables = naive(gallery, probes)
    monkeypatch.setattr(identification, "_BLOCK_SCORES", 7 * len(gallery))
    scores = identification_scores(gallery, probes)
    mated = [(table, label) for table, label in zip(tables, probes.labels, strict=True) if label in table]
    assert np.allclose(scores.mate_scores, [table[label] for table, label in mated], rtol=1e-5)
    ranks = [1 + sum(score > table[label] for score in table.values()) for table, label in mated]
    assert scores.mate_ranks.tolist() == ranks
    strangers = [max(table.values()) for table, label in zip(tables, probes.labels, strict=True) if label not in table]
    assert np.allclose(scores.stranger_scores, strangers, rtol=1e-5)


@pytest.mark.parametrize("rank", [1, 5])
def test_open_set_rates_follow_their_definition(rank):
    scores = identification_scores(*made())
    rates = open_set_rates(scores, fpir=0.2, rank=rank)
    assert rates.fpir.value == np.mean(scores.stranger_scores > rates.threshold) == 0.2
    result = (scores.mate_scores > rates.threshold) & (scores.mate_ranks <= rank)
    assert rates.fnir.value == pytest.approx(1 - np.mean(result))
    assert rates.fnir.low <= rates.fnir.value <= rates.fnir.high


def test_rates_are_monotone():
    scores = identification_scores(*made(1.0))
    fnir = [open_set_rates(scores, fpir=rate).fnir.value for rate in (0.0, 0.1, 0.3, 0.8)]
    assert fnir == sorted(fnir, reverse=True)
    accuracy = [estimate.value for estimate in rank_accuracy(scores, (1, 2, 5, 30)).values()]
    assert accuracy == sorted(accuracy)
    assert accuracy[-1] == 1.0


def test_a_perfect_model_finds_everybody_and_no_stranger():
    scores = identification_scores(*made(1e-4))
    rates = open_set_rates(scores, fpir=0.0)
    assert (rates.fpir.value, rates.fnir.value) == (0.0, 0.0)
    assert rank_accuracy(scores)[1].value == 1.0


def test_a_tie_counts_against_the_mate():
    gallery = Embeddings([[1.0, 0, 0, 0], [1.0, 0, 0, 0]], ["a", "b"], SPACE, ["a", "b"])
    probes = Embeddings([[1.0, 0, 0, 0]], ["q"], SPACE, ["a"])
    assert identification_scores(gallery, probes).mate_ranks.tolist() == [2]


def test_messages():
    gallery, probes = made()
    with pytest.raises(InputError, match="both enrolled and a probe. Got 60, first 'g0'"):
        identification_scores(gallery, gallery)
    with pytest.raises(InputError, match="identification needs labels"):
        identification_scores(gallery, Embeddings(probes.vectors, probes.ids, SPACE))
    with pytest.raises(InputError, match="gallery must have at least one row"):
        identification_scores(gallery.select([]), probes)
    other = SpaceVersion(name="faces", version="2", dim=4, similarity="euclidean")
    with pytest.raises(SpaceMismatchError, match="The probes must be in space"):
        identification_scores(gallery, Embeddings(probes.vectors, probes.ids, other, probes.labels))
    scores = identification_scores(gallery, probes.select(np.arange(30)))
    with pytest.raises(InputError, match="whose subject is not. Got 30 and 0"):
        open_set_rates(scores)
    with pytest.raises(InputError, match="rank must be at least 1. Got 0"):
        open_set_rates(scores, rank=0)
    with pytest.raises(InputError, match="closed-set identification needs probes"):
        rank_accuracy(identification_scores(gallery, probes.select(np.arange(30, 50))))
