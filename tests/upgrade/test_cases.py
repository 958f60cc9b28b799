"""What may judge and what may not: items that were fitted, held-out pairs, and how to get some."""

from __future__ import annotations

from pathlib import Path

import pytest

import embcompat as ec
from embcompat.errors import InputError
from embcompat.selection import fit_artifact
from embcompat.testing import make_pairs
from embcompat.upgrade import Galleries, build_search_case, hold_out, join_galleries, unseen_subjects


def joined(folder: Path, *, refit: bool, subjects: int | None = None) -> Galleries:
    """Fit on all of a gallery's items, and join it."""
    pairs = make_pairs(600, source_dim=8, target_dim=8, noise=0.3, normalized=True, subjects=subjects).pairs
    fit_artifact(pairs, folder / "a", kind="ridge", refit=refit)
    return join_galleries(folder / "a", pairs.source, pairs.target)


@pytest.mark.parametrize("subjects", [None, 100])
def test_held_out_pairs_are_test_pairs_and_count_as_fitted(subjects: int | None, tmp_path: Path) -> None:
    galleries = joined(tmp_path, refit=False, subjects=subjects)
    assert galleries.artifact is not None
    test = galleries.artifact.pair_ids("test")
    known, held_out = hold_out(galleries, seed=0)
    assert held_out is not None
    drawn = set(held_out.old.ids.tolist())
    assert drawn < test
    assert known.fitted == galleries.fitted | drawn
    assert len(held_out.old) == pytest.approx(len(test) / 4, abs=6)
    assert held_out.converted.ids.tolist() == held_out.new.ids.tolist() == held_out.old.ids.tolist()
    assert not drawn & set(build_search_case(known).sides.old_queries.ids.tolist())
    again = hold_out(galleries, seed=0)[1]
    assert again is not None
    assert again.old.ids.tolist() == held_out.old.ids.tolist()
    if subjects is not None:
        assert held_out.old.labels is not None
        left = unseen_subjects(known)[0].labels
        assert left is not None
        assert not set(held_out.old.labels.tolist()) & set(left.tolist())


def test_an_aligner_that_was_fitted_on_all_pairs_has_nothing_held_out(tmp_path: Path) -> None:
    galleries = joined(tmp_path, refit=True, subjects=100)
    assert galleries.fitted == set(galleries.old.ids.tolist())
    assert hold_out(galleries, seed=0) == (galleries, None)
    with pytest.raises(InputError, match=r"none is left to be a query.*--keep-out QRELS.*--no-refit"):
        build_search_case(galleries)
    with pytest.raises(InputError, match=r"All 100 subjects .* --no-refit"):
        unseen_subjects(galleries)


def test_judged_queries_of_fitted_items_alone_name_both_ways_out(tmp_path: Path) -> None:
    galleries = joined(tmp_path, refit=True)
    queries = make_pairs(20, source_dim=8, target_dim=8, noise=0.3, normalized=True, seed=1).pairs
    items = galleries.old.ids.tolist()
    qrels = ec.Qrels({query: {items[number]: 1.0} for number, query in enumerate(queries.ids.tolist())})
    assert galleries.artifact is not None
    with pytest.raises(InputError, match=r"none of 20 judged queries can judge.*--keep-out QRELS.*--no-refit"):
        ec.evaluate_upgrade(
            galleries.artifact,
            old_gallery=galleries.old,
            new_gallery=galleries.new,
            old_queries=queries.source,
            new_queries=queries.target,
            qrels=qrels,
        )
