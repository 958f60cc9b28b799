"""The commands and flags that README and docs show must exist. (Their Python blocks run through `conftest.py`.)"""

from __future__ import annotations

import importlib
import re
import runpy
import shlex
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path

import click
import pytest
import typer

import embcompat
from embcompat.cli import app

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "adapters/*/*.md", "recipes/**/*.md", "examples/**/*.md", "benchmarks/*.md")
    for page in ROOT.glob(pattern)
)


def shell_lines(text: str) -> Iterator[str]:
    """Yield the commands of the shell blocks, continued lines joined."""
    for block in re.findall(r"^```(?:sh|bash|console)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            command = line.strip().removeprefix("$ ")
            if command and not command.startswith("#"):
                yield command


@cache
def root_command() -> click.Command:
    return typer.main.get_command(app)


def check_embcompat(words: list[str]) -> None:
    command = root_command()
    while hasattr(command, "commands"):
        name = next((word for word in words if not word.startswith("-")), None)
        if name is None:
            break
        assert name in command.commands, f"embcompat has no command {name!r}"
        command, words = command.commands[name], words[words.index(name) + 1 :]
    flags = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
    used = [word.split("=")[0] for word in words if re.match(r"-{1,2}[a-z]", word)]
    assert set(used) <= flags, f"embcompat {command.name} has no {sorted(set(used) - flags)}; it has {sorted(flags)}"


def check_make(words: list[str]) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(words) <= targets, f"the Makefile has no {sorted(set(words) - targets)}"


def check_python(words: list[str]) -> None:
    script = next((word for word in words if word.endswith(".py")), None)
    assert script is None or (ROOT / script).is_file(), f"there is no {script}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_shell_lines_name_what_exists(page: Path) -> None:
    for line in shell_lines(page.read_text()):
        program, *words = shlex.split(line, comments=True)
        check = {"embcompat": check_embcompat, "make": check_make, "python": check_python}
        name = Path(program).name
        if name in check:
            check[name](words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", prose):
        assert re.match(r"[a-z]+:", target) or (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_navigation_leads_to_every_page() -> None:
    listed = re.findall(r"(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), flags=re.MULTILINE)
    pages = {str(page.relative_to(ROOT / "docs")) for page in ROOT.glob("docs/**/*.md")}
    commands = runpy.run_path(str(ROOT / "docs" / "make_cli_reference.py"))["make_pages"]()
    project = runpy.run_path(str(ROOT / "docs" / "make_project_pages.py"))["make_pages"]()
    assert sorted(listed) == sorted(pages | {f"reference/{name}" for name in commands} | set(project))


def test_links_of_the_project_pages_lead_into_the_site() -> None:
    project = runpy.run_path(str(ROOT / "docs" / "make_project_pages.py"))["make_pages"]()
    links = [
        (name, target) for name, text in project.items() for target in re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", text)
    ]
    assert links
    assert all((ROOT / "docs" / name).parent.joinpath(target).resolve().is_file() for name, target in links)
    assert "`recipes/face/life_cycle.py`" in project["project/recipes.md"]


def test_pages_of_the_site_link_to_the_site_alone() -> None:
    for page in ROOT.glob("docs/**/*.md"):
        for target in re.findall(r"\]\((\.[^)#\s]+)", page.read_text()):
            assert (page.parent / target).resolve().is_relative_to(ROOT / "docs"), f"{page.name} links to {target}"


def test_the_reference_shows_every_public_name() -> None:
    text = "".join(page.read_text() for page in ROOT.glob("docs/reference/*.md"))
    output = set(re.findall(r"^::: (\S+)$", text, flags=re.MULTILINE))
    assert set(embcompat._HOMES) <= output


def test_reference_pages_that_share_a_package_show_all_of_it() -> None:
    block = re.compile(r"^::: (\S+)\n    options:\n      members:\n((?: {8}- \w+\n?)+)", flags=re.MULTILINE)
    verification, cohorts = "embcompat.evaluation.verification", "embcompat.cohorts"
    elsewhere = {"embcompat.evaluation": verification, verification: cohorts}
    listing: dict[str, list[str]] = {}
    for page in ROOT.glob("docs/reference/*.md"):
        for package, members in block.findall(page.read_text()):
            listing.setdefault(package, []).extend(re.findall(r"- (\w+)", members))
    assert len(listing) >= 5
    for package, members in listing.items():
        names = set(importlib.import_module(package).__all__)
        if package in elsewhere:
            names -= set(dir(importlib.import_module(elsewhere[package])))
        assert sorted(members) == sorted(names), package


def test_the_citation_names_this_version() -> None:
    nearest = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), flags=re.MULTILINE)
    assert nearest is not None
    assert nearest[1] == version("embcompat")


def test_files_that_contributing_names_exist() -> None:
    named = re.findall(r"`([\w/.]+/[\w.]+\.\w+|[\w/]+/)`", (ROOT / "CONTRIBUTING.md").read_text())
    assert len(named) > 15
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_a_flag_that_does_not_exist_is_found() -> None:
    with pytest.raises(AssertionError, match="has no"):
        check_embcompat(["fit", "a", "b", "--no-such-flag"])
    with pytest.raises(AssertionError, match="no command"):
        check_embcompat(["no-such-command"])
