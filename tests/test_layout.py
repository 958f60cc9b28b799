"""The folders are the architecture: README's map, CONTRIBUTING's rules and the tests follow what is there."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "embcompat"
MODULES = [path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"]
MOST_LINES, MOST_MODULES = 300, 14
ELSEWHERE = {"recipes", "newcomers"}  # tests of what lies outside the package, and of ways through all of it


def test_modules_and_folders_are_small() -> None:
    assert [path for path in PACKAGE.rglob("*.py") if len(path.read_text().splitlines()) > MOST_LINES] == []
    assert {
        str(path): count for path, count in Counter(each.parent for each in MODULES).items() if count > MOST_MODULES
    } == {}


def test_no_module_repeats_the_name_of_its_folder() -> None:
    assert [path for path in MODULES if path.stem.startswith(f"{path.parent.name}_")] == []


def test_every_folder_of_tests_is_one_of_the_package() -> None:
    tests = ROOT / "tests"
    folders = {path.parent.relative_to(tests) for path in tests.rglob("test_*.py")}
    assert [str(folder) for folder in folders if folder.name not in ELSEWHERE and not (PACKAGE / folder).is_dir()] == []


def readme_map() -> tuple[set[str], set[str]]:
    """Return what README's map shows inside the package, and beside it."""
    text = (ROOT / "README.md").read_text().partition("```text\nembcompat/\n")[2].partition("```")[0]
    inside, beside = set(), set()
    for line in text.splitlines():
        names = re.split(r"\s{3,}", line.strip())[0].split("  ")
        (inside if line.startswith("  ") else beside).update(name.strip() for name in names)
    return inside, beside


def test_the_map_shows_every_package_and_nothing_else() -> None:
    inside, beside = readme_map()
    packages = {f"{path.parent.name}/" for path in PACKAGE.glob("*/__init__.py")}
    assert {name for name in inside if name.endswith("/")} == packages
    assert [name for name in inside if not (PACKAGE / name).exists()] == []
    assert [name for name in beside if not (ROOT / name).is_dir()] == []


def test_the_map_shows_the_rooms_that_are_there() -> None:
    text = (ROOT / "README.md").read_text().partition("```text\nembcompat/\n")[2].partition("```")[0]
    for line in text.splitlines():
        first, _, purpose = line.strip().partition("/ ")
        for room in re.findall(r"\b(\w+)/", purpose) if line.startswith("  ") else ():
            assert (PACKAGE / first.split()[-1] / room).is_dir() or (PACKAGE / room).is_dir(), (
                f"{first}/ has no {room}/"
            )


def test_names_that_contributing_gives_stand_where_it_says() -> None:
    text = " ".join((ROOT / "CONTRIBUTING.md").read_text().split())
    places = re.findall(r"`([A-Za-z_]+)`(?: and `([A-Za-z_]+)`)?, `((?:embcompat|benchmarks)/[\w/]+\.py)`", text)
    assert len(places) >= 8
    for *names, path in places:
        tree = ast.parse((ROOT / path).read_text())
        known = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        known |= {node.name for node in ast.walk(tree) if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
        assert {name for name in names if name} <= known, path
