"""The model card, read back as the Hub reads it."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
import yaml

from embcompat.artifact import Artifact, Metric
from embcompat.embeddings import PairSplit
from embcompat.export import save_artifact
from embcompat.hub import model_card
from embcompat.runtime import OnnxAligner


def changed(artifact: Artifact, **fields: object) -> Artifact:
    return replace(artifact, manifest=artifact.manifest.model_copy(update=fields))


def test_the_front_matter_is_yaml_that_names_the_library(artifact: Artifact) -> None:
    _, head, _ = model_card(artifact, "team/it").split("---\n", 2)
    assert yaml.safe_load(head) == {
        "library_name": "embcompat",
        "tags": ["embcompat", "embeddings", artifact.source.modality],
    }


def test_every_figure_is_there_with_its_interval(artifact: Artifact) -> None:
    card = model_card(artifact, "team/it")
    assert artifact.manifest.metrics
    for metric in artifact.manifest.metrics:
        row = next(line for line in card.splitlines() if line.startswith(f"| `{metric.name}` |"))
        assert (
            f"| {metric.value:.4g} | {metric.low:.4g} to {metric.high:.4g} | {metric.count:,} of the test part |" in row
        )


def test_both_spaces_and_their_fingerprints_are_there(artifact: Artifact) -> None:
    source = artifact.source.model_copy(update={"fingerprint": {"prompt": "a ``` b", "canary": [[0.25] * 8] * 3}})
    card = model_card(changed(artifact, source=source), "team/it")
    assert f"| space | `{artifact.source.id}` | `{artifact.target.id}` |" in card
    assert f"| dimensions | `{artifact.source.dim}` | `{artifact.target.dim}` |" in card
    blocks = re.findall(r"```json\n(.*?)\n```", card, flags=re.DOTALL)
    assert [json.loads(block) for block in blocks] == [{"prompt": "a ``` b"}]  # the canary's numbers tell nobody much


def test_text_from_outside_is_no_markup(artifact: Artifact) -> None:
    metric = Metric(name="a`b|c\n# d <b>", value=0.5, count=3)
    card = model_card(changed(artifact, metrics=(metric,)), "team/it")
    assert "| `a'b/c # d <b>` | 0.5 |  | 3 of the test part |" in card
    assert "\n# d" not in card


def test_the_limits_name_what_the_manifest_knows(artifact: Artifact) -> None:
    card = model_card(artifact, "team/it")
    counts = artifact.manifest.split
    assert f"Pairs: {counts['test']} test, {counts['train']} train, {counts['validation']} validation." in card
    assert "of held-out items below" in card
    assert "not better than chance" not in card
    assert "`artifact/pairs.parquet`: the ids" in card
    marked = changed(
        artifact,
        kind="reweighted",
        calibration={"chance": {"at_chance": True}, "refit": {"fitted": 400, "measured": 360}},
    )
    card = model_card(marked, "team/it")
    assert "not better than chance. Do not convert with it." in card
    assert "are a lower bound" in card
    assert "It is reweighted" in card


def test_an_artifact_without_figures_has_a_card_that_tells_so(artifact: Artifact, split: PairSplit) -> None:
    spaces = {"source": artifact.source, "target": artifact.target}
    bare = save_artifact(_aligner(split), artifact.path.with_name("bare"), **spaces)
    card = model_card(bare, "team/it")
    assert "Nothing was measured" in card
    assert "pairs.parquet" not in card


@pytest.mark.parametrize(("revision", "arguments"), [(None, '"team/it"'), ("v2", '"team/it", revision="v2"')])
def test_the_lines_that_load_it_are_python(revision: str | None, arguments: str, artifact: Artifact) -> None:
    card = model_card(artifact, "team/it", revision=revision)
    code = re.search(r"```python\n(.*?)```", card, flags=re.DOTALL)
    assert code is not None
    compile(code[1], "card", "exec")
    assert f"ec.{OnnxAligner.__name__}.{OnnxAligner.from_pretrained.__name__}({arguments})" in code[1]


def _aligner(split: PairSplit) -> object:
    from embcompat.aligners import fit_affine

    return fit_affine(split.train, split.validation)
