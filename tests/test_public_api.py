"""The public names: each exists, is documented, and none comes or goes unnoticed."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

import embcompat


def test_the_lists_in_init_agree() -> None:
    homes = {name: home for home, names in embcompat._HOMES.items() for name in names}
    tree = ast.parse(Path(inspect.getfile(embcompat)).read_text())
    typed = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("embcompat.")
        for alias in node.names
    }
    assert homes == typed
    assert sorted(homes) == sorted(embcompat.__all__)


@pytest.mark.parametrize("name", embcompat.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    thing = getattr(embcompat, name)
    assert inspect.getdoc(thing), f"{name} has no docstring"
    if inspect.isclass(thing):
        methods = inspect.getmembers(thing, lambda member: inspect.isfunction(member) or inspect.ismethod(member))
        for method, function in methods:
            if not method.startswith("_") and function.__module__.startswith("embcompat"):
                assert inspect.getdoc(function), f"{name}.{method} has no docstring"


def test_names_are_listed_and_unknown_ones_refused() -> None:
    assert set(embcompat.__all__) <= set(dir(embcompat))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        embcompat.nonsense  # noqa: B018
