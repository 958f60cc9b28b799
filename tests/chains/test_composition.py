from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embcompat.aligners import AffineAligner, ReweightedAligner, fit_affine, load_aligner
from embcompat.aligners.text import StaticEncoder, TextAwareAligner
from embcompat.artifact import Artifact, Metric
from embcompat.chains import (
    Edge,
    compose,
    convert_through,
    edges_of,
    evaluate_path,
    path,
    save_composed,
    scores_via,
    to_mermaid,
)
from embcompat.embeddings import Embeddings, PairedEmbeddings, PairSplit, normalize_rows, split_pairs
from embcompat.errors import InputError, RegistryError, SpaceMismatchError, UnknownNameError
from embcompat.evaluation.chance import is_at_chance
from embcompat.evaluation.similarity import pairwise_scores
from embcompat.export import convert_unweighted, save_artifact, unweight_artifact
from embcompat.registry import Registry
from embcompat.runtime import OnnxAligner
from embcompat.spaces import SpaceVersion

VERSIONS = ("3", "11", "16", "46.4")
DIM = 6


def space(version: str, *, normalized: bool = False, **fingerprint: str) -> SpaceVersion:
    return SpaceVersion(name="facenet", version=version, dim=DIM, normalized=normalized, fingerprint=dict(fingerprint))


def edge(source: str, target: str, retention: float | None, name: str = "") -> Edge:
    return Edge(space(source), space(target), name or f"{source}-{target}", retention)


# --- paths


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_the_path_is_the_best_of_all_paths(data: st.DataObject) -> None:
    names = [str(number) for number in range(5)]
    possible = list(itertools.permutations(names, 2))
    chosen = data.draw(st.lists(st.sampled_from(possible), unique=True, min_size=1, max_size=12))
    retention = {pair: data.draw(st.floats(0.05, 1.2)) for pair in chosen}
    edges = [edge(*pair, value) for pair, value in retention.items()]
    start, end = chosen[0]
    best = 0.0
    for length in range(4):
        for middle in itertools.permutations([name for name in names if name not in (start, end)], length):
            hops = list(itertools.pairwise((start, *middle, end)))
            if all(hop in retention for hop in hops):
                best = max(best, math.prod(min(1.0, retention[hop]) for hop in hops))
    found = path(edges, f"facenet@{start}", f"facenet@{end}")
    assert found.retention == pytest.approx(best)
    assert math.prod(min(1.0, each.retention or 0) for each in found.edges) == pytest.approx(best)
    assert [each.source.id for each in found.edges[1:]] == [each.target.id for each in found.edges[:-1]]
    assert (found.edges[0].source, found.edges[-1].target) == (found.source, found.target)


def test_fewer_steps_among_equals_and_none_to_itself() -> None:
    edges = [edge("3", "11", 1.0), edge("11", "46.4", 1.0), edge("3", "46.4", 1.0)]
    assert [each.aligner for each in path(edges, "facenet@3", "facenet@46.4").edges] == ["3-46.4"]
    itself = path(edges, "facenet@11", "facenet@11")
    assert (itself.edges, itself.retention) == ((), 1.0)


def test_unmeasured_aligners_count_only_when_told_what_for() -> None:
    edges = [edge("3", "11", 0.9), edge("11", "46.4", None)]
    with pytest.raises(RegistryError, match=r"no path from facenet@3 to facenet@46.4. From there one reaches facenet"):
        path(edges, "facenet@3", "facenet@46.4")
    with pytest.raises(RegistryError, match="without a measured retention were left out: facenet@11 -> facenet@46.4"):
        path(edges, "facenet@3", "facenet@46.4")
    assert path(edges, "facenet@3", "facenet@46.4", unmeasured=0.5).retention == pytest.approx(0.45)
    with pytest.raises(InputError, match="unmeasured must be"):
        path(edges, "facenet@3", "facenet@46.4", unmeasured=0.0)


def test_a_useless_aligner_is_no_path() -> None:
    with pytest.raises(RegistryError, match="one reaches nothing"):
        path([edge("3", "11", 0.0)], "facenet@3", "facenet@11")


def test_a_space_that_differs_from_the_graphs_is_refused() -> None:
    edges = [edge("3", "11", 0.9)]
    with pytest.raises(SpaceMismatchError, match=r"fingerprint.prompt: 'x' != None"):
        path(edges, space("3", prompt="x"), "facenet@11")
    with pytest.raises(UnknownNameError, match="no space called 'facenet@4'. Known: facenet@11, facenet@3"):
        path(edges, "facenet@4", "facenet@11")
    elsewhere = Edge(space("11", prompt="x"), space("16"), "b", 0.9)
    with pytest.raises(SpaceMismatchError, match="The target of 3-11"):
        path([*edges, elsewhere], "facenet@3", "facenet@16")


# --- composed aligners


@pytest.fixture(scope="module")
def versions() -> dict[str, Embeddings]:
    """The same 300 items in four versions, each a known rotation of one latent space."""
    return make_versions(normalized=False)


def make_versions(*, normalized: bool, count: int = 300) -> dict[str, Embeddings]:
    rng = np.random.default_rng(0)
    latent = rng.standard_normal((count, DIM))
    made = {}
    for version in VERSIONS:
        rotation = np.linalg.qr(rng.standard_normal((DIM, DIM)))[0]
        vectors = latent @ rotation + 0.02 * rng.standard_normal(latent.shape)
        ids = [f"item-{row}" for row in range(count)]
        vectors = normalize_rows(vectors) if normalized else vectors
        made[version] = Embeddings(vectors, ids, space(version, normalized=normalized))
    return made


def fit(made: dict[str, Embeddings], source: str, target: str, folder: Path, *, seed: int = 0) -> Artifact:
    split: PairSplit = split_pairs(PairedEmbeddings(made[source], made[target]), seed=seed)
    return save_artifact(
        fit_affine(split.train, split.validation),
        folder / f"{source}-{target}",
        source=made[source].space,
        target=made[target].space,
        split=split,
        metrics=[Metric(name="retention", value=0.95, low=0.9, high=1.0, count=60)],
    )


def test_a_composed_chain_is_one_matrix_and_an_artifact(versions: dict[str, Embeddings], tmp_path: Path) -> None:
    steps = [fit(versions, "3", "11", tmp_path), fit(versions, "11", "46.4", tmp_path)]
    composed = compose(steps)
    first, second = (load_aligner(step) for step in steps)
    assert isinstance(composed, AffineAligner)
    assert np.allclose(composed.weight, second.state()["weight"] @ first.state()["weight"], atol=1e-6)
    saved = save_composed(steps, tmp_path / "composed")
    assert (saved.source, saved.target) == (space("3"), space("46.4"))
    served = OnnxAligner(saved).transform(versions["3"].vectors)
    assert np.allclose(served, convert_through(steps, versions["3"]).vectors, atol=1e-5)
    assert np.abs(served - versions["46.4"].vectors).max() < 0.3


@pytest.mark.parametrize("count", [2, 3])
def test_normalized_steps_stay_steps(count: int, tmp_path: Path) -> None:
    made = make_versions(normalized=True)
    names = VERSIONS[: count + 1]
    steps = [fit(made, source, target, tmp_path) for source, target in itertools.pairwise(names)]
    assert compose(steps).kind == "chain"
    saved = save_composed(steps, tmp_path / "composed")
    assert saved.manifest.kind == "chain"
    expected = convert_through(steps, made["3"])
    assert np.allclose(OnnxAligner(saved).transform(made["3"].vectors), expected.vectors, atol=1e-5)
    assert np.allclose(load_aligner(saved).transform(made["3"].vectors), expected.vectors, atol=1e-5)
    assert expected.space == made[names[-1]].space


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


# --- with a registry


@pytest.fixture
def registry(versions: dict[str, Embeddings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = Registry("memory://", create=True)
    for source, target in (("3", "11"), ("11", "46.4"), ("16", "46.4")):
        made.publish(fit(versions, source, target, tmp_path))
    made.promote("production", "facenet@46.4")
    return made


def test_two_old_versions_compare_in_a_third(registry: Registry, versions: dict[str, Embeddings]) -> None:
    scores = scores_via(registry, versions["3"], versions["16"], via="production")
    assert scores.shape == (300, 300)
    assert (scores.argmax(axis=1) == np.arange(300)).mean() > 0.95
    raw = pairwise_scores(versions["3"].vectors, versions["16"].vectors, "cosine")
    assert (raw.argmax(axis=1) == np.arange(300)).mean() < 0.1
    native = scores_via(registry, versions["46.4"], versions["46.4"], via=space("46.4"))
    assert np.allclose(native, pairwise_scores(versions["46.4"].vectors, versions["46.4"].vectors, "cosine"))


def test_vectors_of_another_fingerprint_are_refused(registry: Registry, versions: dict[str, Embeddings]) -> None:
    other = Embeddings(versions["3"].vectors, versions["3"].ids, space("3", prompt="x"))
    with pytest.raises(SpaceMismatchError, match="fingerprint.prompt"):
        scores_via(registry, other, versions["16"], via="production")


def test_retired_aligners_and_spaces_are_on_no_path(registry: Registry) -> None:
    assert [each.target.version for each in path(registry, "facenet@3", "production").edges] == ["11", "46.4"]
    registry.retire("facenet@3")
    assert len(path(registry, "facenet@3", "production").edges) == 2  # its vectors need a way out
    registry.retire("facenet@11")
    with pytest.raises(RegistryError, match="no path from facenet@3 to facenet@46.4"):
        path(registry, "facenet@3", "production")
    (left,) = (each for each in edges_of(registry) if each.source.version == "16")
    registry.retire(left.aligner)
    assert [each.source.version for each in edges_of(registry)] == ["11"]


def test_the_mermaid_picture_shows_spaces_labels_and_what_is_retired(registry: Registry) -> None:
    gone = registry.list_aligners()[0]
    registry.retire(gone.id)
    registry.retire("facenet@16")
    registry.promote("canary", registry.list_aligners()[0].id)
    lines = to_mermaid(registry).splitlines()
    assert lines[0] == "flowchart LR"
    assert '    s3["facenet@46.4<br>production"]' in lines
    assert f'    s0 -.->|"affine {gone.id[:6]}, 0.900"| s3' in lines
    assert any("-->" in line and ", 0.900, canary" in line for line in lines)
    assert lines[-1] == "    class s1 retired"


def test_real_text_vectors_through_a_middle_space(shared_data: Path, tmp_path: Path) -> None:
    made = {}
    for version, model in (("3", "static64"), ("11", "para_l3"), ("46.4", "minilm")):
        vectors = np.load(shared_data / "text" / f"cranfield_{model}_docs.npy")
        kept = np.flatnonzero(np.linalg.norm(np.load(shared_data / "text" / "cranfield_static64_docs.npy"), axis=1))
        where = SpaceVersion(name="text", version=version, dim=vectors.shape[1], normalized=True)
        made[version] = Embeddings(vectors[kept], [str(row) for row in kept], where)
    steps = [fit(made, "3", "11", tmp_path), fit(made, "11", "46.4", tmp_path)]
    direct = fit(made, "3", "46.4", tmp_path)
    report = evaluate_path(steps, direct, PairedEmbeddings(made["3"], made["46.4"]))
    assert report.pairs > 250
    assert 0.3 < report.direct.value < 1.0
    assert report.ratio is not None
    assert 0.5 < report.ratio.value < 1.1


def test_a_mermaid_graph_holds_no_foreign_markup() -> None:
    from embcompat.chains.graph import _mermaid_text

    assert _mermaid_text('ridge"| b; click s0 "javascript:x"') == (
        "ridge#34;#124; b#59; click s0 #34;javascript#58;x#34;"
    )
    assert _mermaid_text("kernel 0a1b2c, 0.950, production") == "kernel 0a1b2c, 0.950, production"
