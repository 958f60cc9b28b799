"""Paths through the graph of spaces, and the graph of a registry."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embcompat.chains import (
    Edge,
    edges_of,
    path,
    scores_via,
    to_mermaid,
)
from embcompat.embeddings import Embeddings
from embcompat.errors import InputError, RegistryError, SpaceMismatchError, UnknownNameError
from embcompat.evaluation.similarity import pairwise_scores
from embcompat.registry import Registry
from tests.chains.versions import fit, space


def edge(source: str, target: str, retention: float | None, name: str = "") -> Edge:
    return Edge(space(source), space(target), name or f"{source}-{target}", retention)


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
    result = path(edges, f"facenet@{start}", f"facenet@{end}")
    assert result.retention == pytest.approx(best)
    assert math.prod(min(1.0, each.retention or 0) for each in result.edges) == pytest.approx(best)
    assert [each.source.id for each in result.edges[1:]] == [each.target.id for each in result.edges[:-1]]
    assert (result.edges[0].source, result.edges[-1].target) == (result.source, result.target)


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


@pytest.fixture
def registry(versions: dict[str, Embeddings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    team = Registry("memory://", create=True)
    for source, target in (("3", "11"), ("11", "46.4"), ("16", "46.4")):
        team.publish(fit(versions, source, target, tmp_path))
    team.promote("production", "facenet@46.4")
    return team


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
    entry = registry.list_aligners()[0]
    registry.retire(entry.id)
    registry.retire("facenet@16")
    registry.promote("canary", registry.list_aligners()[0].id)
    lines = to_mermaid(registry).splitlines()
    assert lines[0] == "flowchart LR"
    assert '    s3["facenet@46.4<br>production"]' in lines
    assert f'    s0 -.->|"affine {entry.id[:6]}, 0.900"| s3' in lines
    assert any("-->" in line and ", 0.900, canary" in line for line in lines)
    assert lines[-1] == "    class s1 retired"


def test_a_mermaid_graph_holds_no_foreign_markup() -> None:
    from embcompat.chains.graph import _mermaid_text

    assert _mermaid_text('ridge"| b; click s0 "javascript:x"') == (
        "ridge#34;#124; b#59; click s0 #34;javascript#58;x#34;"
    )
    assert _mermaid_text("kernel 0a1b2c, 0.950, production") == "kernel 0a1b2c, 0.950, production"
