"""Figures of each subject against loops over pairs of people."""

from __future__ import annotations

import numpy as np
import pytest

from embcompat.evaluation.verification import VerificationPairs, subject_figures


@pytest.mark.parametrize("weight", ["person", "pairs"])
def test_each_subject_is_what_the_loop_finds(weight, monkeypatch):
    monkeypatch.setattr("embcompat.evaluation.verification.subjects._BLOCK_ROWS", 7)
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(8), [6, 1, 2, 3, 2, 1, 4, 2])
    anchors, positives = rng.standard_normal((2, len(codes), 5))
    positives += rng.standard_normal((8, 5))[codes]
    pairs = VerificationPairs(anchors, positives, codes, codes, "dot", same_items=True, weight=weight)
    scores = anchors @ positives.T
    figures = subject_figures(pairs, 0.5)
    cells = {}
    for person in range(8):
        for other in range(8):
            block = scores[np.ix_(codes == person, codes == other)]
            cells[person, other] = block[~np.eye(len(block), dtype=bool)] if person == other else block.ravel()
    impostors = [cell for (person, other), cell in cells.items() if person != other]

    def average(values, of):
        return np.mean([of(cell).mean() for cell in values]) if weight == "person" else of(np.hstack(values)).mean()

    mean = average(impostors, lambda cell: cell)
    assert figures.impostor_mean == pytest.approx(mean)
    assert figures.impostor_deviation == pytest.approx(np.sqrt(average(impostors, lambda cell: (cell - mean) ** 2)))
    for person in range(8):
        person_cells = [cell for (first, other), cell in cells.items() if first == person and other != person]
        assert figures.false_accepts[person] == pytest.approx(average(person_cells, lambda cell: cell > 0.5))
        if len(cells[person, person]):
            assert figures.genuine[person] == pytest.approx(cells[person, person].mean())
            assert figures.accepted[person] == pytest.approx(np.mean(cells[person, person] > 0.5))
        else:
            assert np.isnan(figures.genuine[person])
