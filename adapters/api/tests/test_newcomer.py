"""From one API model to another, by the commands of the docs, on a service of loopback."""

from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from embcompat.artifact import read_artifact
from embcompat.cli import app

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "use-an-api-model.md"
WORDS = ["river", "stone", "cloud", "harvest", "window", "iron", "music", "lantern", "valley", "thunder"]


def test_two_api_models_are_joined_by_the_commands_of_the_page(
    service: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    monkeypatch.setenv("OPENAI_BASE_URL", service.url)
    with Path("docs.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "text"])
        writer.writerows([f"{one}-{two}", f"{one} and {two}"] for one in WORDS for two in WORDS)
    names = {"text-embedding-ada-002": service.models["other"], "text-embedding-3-small": service.models["own"]}
    lines = re.findall(r"^embcompat (.+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert [line.split()[0] for line in lines] == ["embed", "embed", "fit", "evaluate"]
    outputs = []
    for line in lines:
        result = CliRunner().invoke(app, [names.get(word, word) for word in shlex.split(line)], standalone_mode=False)
        if result.exception is not None:
            raise result.exception
        outputs.append(result.output)
    assert "a cost of about" in outputs[0]
    assert len([text for request in service.requests for text in request]) > 2 * len(WORDS) ** 2  # and the canaries
    artifact = read_artifact(Path("old-to-new"))
    assert [artifact.source.dim, artifact.target.dim] == [64, 64]
    assert artifact.source.id != artifact.target.id
