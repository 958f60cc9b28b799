"""Chains as one aligner, measured beside the direct one."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from embcompat.aligners import AffineAligner, ReweightedAligner, load_aligner
from embcompat.aligners.text import StaticEncoder, TextAwareAligner
from embcompat.artifact import Artifact
from embcompat.chains import (
    compose,
    convert_through,
    evaluate_path,
    save_composed,
)
from embcompat.embeddings import Embeddings, PairedEmbeddings
from embcompat.errors import InputError, SpaceMismatchError
from embcompat.evaluation.chance import is_at_chance
from embcompat.evaluation.similarity import pairwise_scores
from embcompat.export import convert_unweighted, save_artifact, unweight_artifact
from embcompat.runtime import OnnxAligner
from embcompat.spaces import SpaceVersion
from tests.chains.versions import DIM, VERSIONS, fit, make_versions, space


def test_a_composed_chain_is_one_matrix_and_an_artifact(versions: dict[str, Embeddings], tmp_path: Path) -> None:
    steps = [fit(versions, "3", "11", tmp_path), fit(versions, "11", "46.4", tmp_path)]
    composed = compose(steps)
    first, second = (load_aligner(step) for step in steps)
    assert isinstance(composed, AffineAligner)
    assert np.allclose(composed.weight, second.state()["weight"] @ first.state()["weight"], atol=1e-6)
    saved = save_composed(steps, tmp_path / "composed")
    assert (saved.source, saved.target) == (space("3"), space("46.4"))
    actual = OnnxAligner(saved).transform(versions["3"].vectors)
    assert np.allclose(actual, convert_through(steps, versions["3"]).vectors, atol=1e-5)
    assert np.abs(actual - versions["46.4"].vectors).max() < 0.3


@pytest.mark.parametrize("count", [2, 3])
def test_normalized_steps_stay_steps(count: int, tmp_path: Path) -> None:
    versions = make_versions(normalized=True)
    names = VERSIONS[: count + 1]
    steps = [fit(versions, source, target, tmp_path) for source, target in itertools.pairwise(names)]
    assert compose(steps).kind == "chain"
    saved = save_composed(steps, tmp_path / "composed")
    assert saved.manifest.kind == "chain"
    expected = convert_through(steps, versions["3"])
    assert np.allclose(OnnxAligner(saved).transform(versions["3"].vectors), expected.vectors, atol=1e-5)
    assert np.allclose(load_aligner(saved).transform(versions["3"].vectors), expected.vectors, atol=1e-5)
    assert expected.space == versions[names[-1]].space


def test_a_composed_artifact_lists_what_any_step_was_fitted_on(versions: dict[str, Embeddings], tmp_path: Path) -> None:
    steps = [fit(versions, "3", "11", tmp_path, seed=1), fit(versions, "11", "46.4", tmp_path, seed=2)]
    saved = save_composed(steps, tmp_path / "composed")
    assert saved.pair_ids("train") == steps[0].pair_ids("train") | steps[1].pair_ids("train")
    assert saved.pair_ids() == steps[0].pair_ids()
    assert saved.pair_ids("test") == steps[0].pair_ids("test") & steps[1].pair_ids("test")
    assert sum(saved.manifest.split.values()) == len(saved.pair_ids())
    assert saved.manifest.metrics == ()


def test_a_chain_with_a_step_at_chance_level_is_marked(versions: dict[str, Embeddings], tmp_path: Path) -> None:
    mixed = dict(versions)
    order = np.random.default_rng(0).permutation(len(versions["46.4"]))
    mixed["46.4"] = Embeddings(versions["46.4"].vectors[order], versions["46.4"].ids, versions["46.4"].space)
    good, bad = fit(mixed, "3", "11", tmp_path), fit(mixed, "11", "46.4", tmp_path)
    assert is_at_chance(save_composed([good, bad], tmp_path / "marked"))
    assert not is_at_chance(save_composed([good], tmp_path / "unmarked"))


# --- steps that are reweighted


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def random_map(seed: int, size: int) -> AffineAligner:
    rng = np.random.default_rng(seed)
    return AffineAligner(rng.standard_normal((size, size)), rng.standard_normal(size), normalize=True)


def reweighted_steps(versions: Sequence[str], folder: Path) -> list[Artifact]:
    """Maps of unit vectors, each with a weighting that turns and squeezes its output."""
    steps = []
    for number, (source, target) in enumerate(itertools.pairwise(versions)):
        weight = np.random.default_rng(50 + number).standard_normal((DIM, DIM)) + 3 * np.eye(DIM)
        aligner = ReweightedAligner(random_map(number, DIM), weight, normalize=True)
        ends = space(source, normalized=True), space(target, normalized=True)
        steps.append(save_artifact(aligner, folder / f"{source}-{target}", source=ends[0], target=ends[1]))
    return steps


def walk(steps: Sequence[Artifact], vectors: np.ndarray, *, last_weighted: bool = True) -> np.ndarray:
    """What the steps' own arrays make of vectors, where only the last step is weighted."""
    for number, step in enumerate(steps, start=1):
        arrays = step.weights()
        vectors = unit(vectors @ arrays["0.weight"].T + arrays["0.bias"])
        if number == len(steps) and last_weighted:
            vectors = unit(vectors @ arrays["weight"].T + arrays["bias"])
    return vectors


@pytest.mark.parametrize("count", [1, 2, 3])
def test_an_earlier_step_hands_on_vectors_of_the_middle_space(count: int, tmp_path: Path) -> None:
    vectors = make_versions(normalized=True)["3"]
    steps = reweighted_steps(VERSIONS[: count + 1], tmp_path)
    expected = walk(steps, vectors.vectors)
    np.testing.assert_allclose(convert_through(steps, vectors).vectors, expected, atol=2e-5)
    np.testing.assert_allclose(compose(steps).transform(vectors.vectors), expected, atol=2e-5)
    saved = save_composed(steps, tmp_path / "composed")
    np.testing.assert_allclose(OnnxAligner(saved).transform(vectors.vectors), expected, atol=2e-5)
    assert saved.manifest.is_reweighted


def test_a_composed_chain_keeps_the_last_weighting_apart(tmp_path: Path) -> None:
    vectors = make_versions(normalized=True)["3"]
    steps = reweighted_steps(VERSIONS, tmp_path)
    start = save_composed(steps[:2], tmp_path / "start")
    bare = unweight_artifact(start, tmp_path / "bare")
    expected = walk(steps[:2], vectors.vectors, last_weighted=False)
    np.testing.assert_allclose(OnnxAligner(bare).transform(vectors.vectors), expected, atol=2e-5)
    np.testing.assert_allclose(convert_unweighted(OnnxAligner(start), vectors).vectors, expected, atol=2e-5)
    assert not bare.manifest.is_reweighted
    # A chain as the first step of another one is no different from its steps.
    np.testing.assert_allclose(
        convert_through([start, steps[2]], vectors).vectors, walk(steps, vectors.vectors), atol=2e-5
    )
    np.testing.assert_allclose(
        compose([start, steps[2]]).transform(vectors.vectors), walk(steps, vectors.vectors), atol=2e-5
    )


def test_a_chain_whose_last_step_is_not_reweighted_is_not(tmp_path: Path) -> None:
    first = reweighted_steps(VERSIONS[:2], tmp_path)
    ends = space("11", normalized=True), space("16", normalized=True)
    second = save_artifact(random_map(9, DIM), tmp_path / "plain", source=ends[0], target=ends[1])
    saved = save_composed([*first, second], tmp_path / "composed")
    assert not saved.manifest.is_reweighted
    with pytest.raises(InputError, match="must be reweighted. It is not"):
        unweight_artifact(saved, tmp_path / "bare")


def test_steps_with_texts_convert_but_do_not_compose(tmp_path: Path) -> None:
    vectors = make_versions(normalized=True)["3"]
    texts = [("wing", "flow", "")[row % 3] for row in range(len(vectors))]
    encoder = StaticEncoder(["wing", "flow"], np.eye(2, 4), [1, 1], np.full(4, 0.1), [], np.empty((0, 4)), [], [0] * 4)
    parts = [
        AffineAligner(np.random.default_rng(dim).standard_normal((DIM, dim)), np.zeros(DIM), normalize=True)
        for dim in (DIM + 4, DIM)
    ]
    weights = [np.random.default_rng(seed).standard_normal((DIM, DIM)) + 3 * np.eye(DIM) for seed in (3, 4)]
    weighted = [ReweightedAligner(part, weight, normalize=True) for part, weight in zip(parts, weights, strict=True)]
    versions = [space(version, normalized=True) for version in VERSIONS[:3]]
    first = save_artifact(
        TextAwareAligner(encoder, *weighted), tmp_path / "first", source=versions[0], target=versions[1]
    )
    second = save_artifact(random_map(7, DIM), tmp_path / "second", source=versions[1], target=versions[2])
    words = {"wing": unit(np.eye(2, 4)[:1] - 0.1)[0], "flow": unit(np.eye(2, 4)[1:] - 0.1)[0]}
    middle = np.array(
        [
            parts[0].weight @ np.concatenate([row, words[text]]) if text else parts[1].weight @ row
            for row, text in zip(vectors.vectors, texts, strict=True)
        ]
    )
    arrays = second.weights()
    expected = unit(unit(middle) @ arrays["weight"].T + arrays["bias"])
    with_texts = vectors.with_texts(dict(zip(vectors.ids.tolist(), texts, strict=True)))
    np.testing.assert_allclose(convert_through([first, second], with_texts).vectors, expected, atol=2e-5)
    with pytest.raises(InputError, match="reads vectors alone. .* reads texts too. Convert step by step"):
        compose([first, second])
    with pytest.raises(InputError, match="needs the text of each item"):
        convert_through([first, second], vectors)
    with pytest.raises(SpaceMismatchError, match="The vectors to convert must be in space"):
        convert_through([first, second], make_versions(normalized=True)["11"])


def test_steps_that_do_not_meet_are_refused(versions: dict[str, Embeddings], tmp_path: Path) -> None:
    steps = [fit(versions, "3", "11", tmp_path), fit(versions, "16", "46.4", tmp_path)]
    with pytest.raises(SpaceMismatchError, match="must be in space 'facenet@16'. Got 'facenet@11'"):
        compose(steps)
    with pytest.raises(SpaceMismatchError, match="The vectors to convert must be in space 'facenet@3'"):
        convert_through(steps, versions["46.4"])
    with pytest.raises(InputError, match="at least one artifact"):
        compose([])


# --- chains measured


def test_a_chain_is_measured_beside_the_direct_aligner(versions: dict[str, Embeddings], tmp_path: Path) -> None:
    steps = [fit(versions, "3", "11", tmp_path), fit(versions, "11", "46.4", tmp_path)]
    direct = fit(versions, "3", "46.4", tmp_path)
    pairs = PairedEmbeddings(versions["3"], versions["46.4"])
    report = evaluate_path(steps, direct, pairs)
    assert report.pairs == len(direct.pair_ids("test"))
    assert report.direct.value > 0.95
    assert report.ratio is not None
    assert report.ratio.low <= report.ratio.value <= report.ratio.high
    assert report.ratio.value == pytest.approx(report.chain.value / report.direct.value)
    assert report.difference.value == pytest.approx(report.chain.value - report.direct.value)
    assert report.to_dict()["metric"] == "mrr"
    itself = evaluate_path([direct], direct, pairs)
    assert itself.ratio is not None
    assert (itself.ratio.low, itself.ratio.high) == (1.0, 1.0)


def test_the_metric_is_that_of_a_naive_loop(versions: dict[str, Embeddings], tmp_path: Path) -> None:
    direct = fit(versions, "3", "46.4", tmp_path)
    rng = np.random.default_rng(5)
    noisy = Embeddings(versions["3"].vectors + rng.standard_normal((300, DIM)), versions["3"].ids, versions["3"].space)
    report = evaluate_path([direct], direct, PairedEmbeddings(noisy, versions["46.4"]))
    rows = [row for row, item in enumerate(noisy.ids) if item in direct.pair_ids("test")]
    converted = load_aligner(direct).transform(noisy.vectors[rows])
    scores = pairwise_scores(converted, versions["46.4"].vectors[rows], "cosine")
    ranks = [1 + sum(other > row[number] for other in row) for number, row in enumerate(scores)]
    assert report.chain.value == pytest.approx(np.mean([1 / rank for rank in ranks]))
    assert 0.05 < report.chain.value < 0.95


def test_a_chain_with_a_shuffled_step_loses(versions: dict[str, Embeddings], tmp_path: Path) -> None:
    shuffled = dict(versions)
    order = np.random.default_rng(1).permutation(300)
    shuffled["11"] = Embeddings(versions["11"].vectors[order], versions["11"].ids, versions["11"].space)
    steps = [fit(shuffled, "3", "11", tmp_path), fit(versions, "11", "46.4", tmp_path)]
    direct = fit(versions, "3", "46.4", tmp_path)
    report = evaluate_path(steps, direct, PairedEmbeddings(versions["3"], versions["46.4"]))
    assert report.difference.high < -0.5


def test_measuring_refuses_what_does_not_fit(versions: dict[str, Embeddings], tmp_path: Path) -> None:
    steps = [fit(versions, "3", "11", tmp_path), fit(versions, "11", "46.4", tmp_path)]
    direct = fit(versions, "3", "46.4", tmp_path)
    pairs = PairedEmbeddings(versions["3"], versions["46.4"])
    with pytest.raises(SpaceMismatchError, match="What the direct aligner writes"):
        evaluate_path(steps[:1], direct, pairs)
    with pytest.raises(SpaceMismatchError, match="The pairs' target"):
        evaluate_path(steps, direct, PairedEmbeddings(versions["3"], versions["16"]))
    fitted = pairs.select([row for row, item in enumerate(pairs.ids) if item in direct.pair_ids("train")])
    with pytest.raises(InputError, match="all fitted on"):
        evaluate_path(steps, direct, fitted)


def test_real_text_vectors_through_a_middle_space(shared_data: Path, tmp_path: Path) -> None:
    versions = {}
    for version, model in (("3", "static64"), ("11", "para_l3"), ("46.4", "minilm")):
        vectors = np.load(shared_data / "text" / f"cranfield_{model}_docs.npy")
        array = np.flatnonzero(np.linalg.norm(np.load(shared_data / "text" / "cranfield_static64_docs.npy"), axis=1))
        where = SpaceVersion(name="text", version=version, dim=vectors.shape[1], normalized=True)
        versions[version] = Embeddings(vectors[array], [str(row) for row in array], where)
    steps = [fit(versions, "3", "11", tmp_path), fit(versions, "11", "46.4", tmp_path)]
    direct = fit(versions, "3", "46.4", tmp_path)
    report = evaluate_path(steps, direct, PairedEmbeddings(versions["3"], versions["46.4"]))
    assert report.pairs > 250
    assert 0.3 < report.direct.value < 1.0
    assert report.ratio is not None
    assert 0.5 < report.ratio.value < 1.1
