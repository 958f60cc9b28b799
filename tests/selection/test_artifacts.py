from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embcompat.aligners import AffineAligner, fit_affine, load_aligner
from embcompat.artifact import read_artifact
from embcompat.embeddings import Embeddings, PairedEmbeddings, cut_texts
from embcompat.errors import InputError
from embcompat.export import save_artifact
from embcompat.selection import default_candidates, fit_artifact, leave_out, select_aligner
from embcompat.testing import check_aligner, make_pairs

PAIRS = make_pairs(300, source_dim=8, target_dim=8, noise=0.2).pairs


def test_the_saved_aligner_is_fitted_on_all_pairs_and_the_figures_are_of_the_split(tmp_path: Path) -> None:
    fitted = fit_artifact(PAIRS, tmp_path / "a", kind="ridge")
    held_out = fit_affine(fitted.split.train, fitted.split.validation, refit=True)
    artifact = read_artifact(tmp_path / "a")
    assert fitted.refitted
    assert artifact.pair_ids("test") == set()
    assert artifact.pair_ids() == set(PAIRS.ids.tolist())
    assert artifact.manifest.calibration["refit"] == {"fitted": 300, "measured": 240}
    save_artifact(held_out, tmp_path / "b", source=PAIRS.source.space, target=PAIRS.target.space, split=fitted.split)
    assert artifact.manifest.metrics == read_artifact(tmp_path / "b").manifest.metrics
    assert not np.array_equal(load_aligner(artifact).state()["weight"], held_out.weight)


def test_without_a_refit_the_test_pairs_can_judge(tmp_path: Path) -> None:
    fitted = fit_artifact(PAIRS, tmp_path / "a", kind="ridge", refit=False)
    assert fitted.artifacts[0].pair_ids("test") == set(fitted.split.test.ids.tolist())
    assert "refit" not in fitted.artifacts[0].manifest.calibration


def test_auto_saves_what_select_aligner_chooses(tmp_path: Path) -> None:
    fitted = fit_artifact(PAIRS, tmp_path / "a", candidates=["ridge", "procrustes"], refit=False)
    choice = select_aligner(fitted.split.train, fitted.split.validation, candidates=["ridge", "procrustes"])
    assert fitted.selection is not None
    assert fitted.selection.candidate == choice.candidate
    np.testing.assert_array_equal(fitted.aligner.state()["weight"], choice.aligner.state()["weight"])


def test_options_of_auto_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="options of a fit need a kind that takes them. Got penalty for 'auto'"):
        fit_artifact(PAIRS, tmp_path / "a", penalty=1.0)


def test_shuffled_pairs_are_marked(tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(len(PAIRS))
    target = Embeddings(PAIRS.target.vectors[order], PAIRS.ids, PAIRS.target.space)
    assert fit_artifact(PairedEmbeddings(PAIRS.source, target), tmp_path / "a", kind="ridge").at_chance
    assert not fit_artifact(PAIRS, tmp_path / "b", kind="ridge").at_chance


def test_identity_passes_the_suite_of_aligners(tmp_path: Path) -> None:
    split = fit_artifact(PAIRS, tmp_path / "a", kind="identity").split
    identity = fit_affine(split.train, split.validation, solver="identity")
    assert isinstance(identity, AffineAligner)
    np.testing.assert_array_equal(identity.transform(split.test.source.vectors), split.test.source.vectors)
    check_aligner(identity, split)
    other = make_pairs(50, source_dim=4, target_dim=5).pairs
    with pytest.raises(InputError, match="identity needs two spaces of one dimension. Got 4 and 5"):
        fit_affine(other, other.select([]), solver="identity")


def texts_and_pieces() -> PairedEmbeddings:
    """Texts as sums of the vectors of their words, and pieces of them, under two models that differ by a map."""
    rng = np.random.default_rng(0)
    words = rng.standard_normal((200, 12))
    turn = np.linalg.qr(rng.standard_normal((12, 12)))[0]
    texts = [" ".join(str(word) for word in rng.integers(200, size=24)) for _ in range(60)]
    cut = cut_texts(texts, [f"t{number}" for number in range(60)], words=8)
    old = np.array([words[[int(word) for word in item.split()]].sum(axis=0) for item in cut.items])
    sides = []
    for vectors, side in ((old, PAIRS.source), (old @ turn, PAIRS.target)):
        space = side.space.model_copy(update={"dim": 12})
        sides.append(Embeddings(vectors.astype(np.float32), cut.ids, space, cut.labels))
    return PairedEmbeddings(*sides)


def test_pieces_are_known_by_their_labels(tmp_path: Path) -> None:
    pairs = texts_and_pieces()
    assert "pieces, reweighted" in [each.name for each in default_candidates("retrieval", pairs)]
    fitted = fit_artifact(pairs, tmp_path / "a")
    assert fitted.selection is not None
    assert fitted.selection.metric == "piece_margin"
    parts = [set(part.labels.tolist()) for part in fitted.split.parts().values()]
    assert sum(map(len, parts)) == 60
    named = fit_artifact(pairs, tmp_path / "b", kind="pieces, reweighted")
    check_aligner(named.aligner, named.split)
    with pytest.raises(InputError, match="the kind pieces needs whole texts and pieces of them"):
        fit_artifact(PAIRS, tmp_path / "c", kind="pieces")


def test_an_item_leaves_with_its_pieces() -> None:
    pairs = texts_and_pieces()
    rest, count = leave_out(pairs, {"t0", "t1"})
    assert count == 8
    assert len(rest) == len(pairs) - 8
    assert not {"t0", "t1"} & set(rest.labels.tolist())
    with pytest.raises(InputError, match="All 240 items answer one"):
        leave_out(pairs, set(pairs.labels.tolist()))
