"""What describes the distribution outside of pyproject.toml says the same."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def listed(text: str, key: str) -> list[str]:
    """Return the plain list under a key of a YAML file."""
    match = re.search(rf"^( *){key}:\n((?:\1 +- .+\n)+)", text, flags=re.MULTILINE)
    assert match is not None, key
    return [line.strip().removeprefix("- ") for line in match[2].splitlines()]


def test_the_conda_recipe_is_in_step_with_the_project() -> None:
    recipe = (ROOT / ".ci" / "recipe.yaml").read_text()
    python = f"python {PROJECT['requires-python']}"
    assert listed(recipe, "run") == [python, *(name.replace(">=", " >=") for name in PROJECT["dependencies"])]
    (backend,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert listed(recipe, "host") == [python, "pip", backend.replace(">=", " >=")]
    assert listed(recipe, "entry_points") == [f"{name} = {place}" for name, place in PROJECT["scripts"].items()]
    assert f'version: "{PROJECT["version"]}"' in recipe
    assert f"summary: {PROJECT['description']}" in recipe
    assert f"license: {PROJECT['license']}" in recipe


def test_the_workflows_test_every_python_that_the_classifiers_name() -> None:
    named = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if re.search(r"Python :: 3\.\d+$", line)]
    matrices = [re.findall(r'"(3\.\d+)"', path.read_text()) for path in (ROOT / ".github" / "workflows").glob("*.yml")]
    assert sorted(named) in [sorted(set(versions)) for versions in matrices]
