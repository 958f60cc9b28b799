"""The public names: each exists, is documented, and none comes or goes unnoticed."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from difflib import unified_diff
from pathlib import Path

import pytest

import embcompat
from embcompat.results import Estimate, RetrievalReport
from tests.public_api import SNAPSHOT, describe


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


def test_no_public_name_or_signature_changes_unnoticed() -> None:
    expected, actual = SNAPSHOT.read_text(encoding="utf-8").splitlines(), describe().splitlines()
    changes = list(unified_diff(expected, actual, "recorded", "actual", n=0, lineterm=""))
    assert not changes, "\n".join([*changes, "If that is meant, renew the record: python tests/public_api.py"])


def test_docs_and_examples_import_nothing_deeper_than_a_package() -> None:
    root = Path(__file__).parents[1]
    pages = [root / "README.md", *root.glob("docs/**/*.md"), *root.glob("examples/*.py")]
    modules = {
        name for page in pages for name in re.findall(r"^(?:from|import) (embcompat\.[\w.]+)", page.read_text(), re.M)
    }
    assert len(modules) > 5
    deep = [name for name in modules if not (root / name.replace(".", "/")).is_dir() and name.count(".") > 1]
    assert deep == []


LONG = ("NDArray", "Mapping", "dict[", "list[", "tuple[str, ...]", "Manifest", "Report")


@pytest.mark.parametrize("name", embcompat.__all__)
def test_every_public_value_shows_itself_in_short(name: str) -> None:
    thing = getattr(embcompat, name)
    if not inspect.isclass(thing) or getattr(thing, "_is_protocol", False):
        return
    assert thing.__repr__ is not object.__repr__, f"{name} shows its address"
    method = thing.__dict__.get("__repr__")
    generated = dataclasses.is_dataclass(thing) and (method is None or hasattr(method, "__wrapped__"))
    if generated and name != "Decision":  # its reasons are sentences to be read
        fields = [field.name for field in dataclasses.fields(thing) if any(each in str(field.type) for each in LONG)]
        assert not fields, f"{name} shows all of {', '.join(fields)}"


def test_values_show_what_matters() -> None:
    figure = Estimate(value=0.4, low=0.3, high=0.5)
    report = RetrievalReport(metric="ndcg@10", queries=3, gallery_size=9, metrics={"ndcg@10": {"converted": figure}})
    assert repr(report) == "RetrievalReport('ndcg@10', queries=3, gallery_size=9, converted=0.400)"
    assert repr(embcompat.Qrels({"a": {"x": 1, "y": 0}, "b": {"x": 1}})) == "Qrels(queries=2, judgements=3)"
    assert repr(embcompat.cut_texts(["a b c d"], ["1"], words=2)).startswith("CutTexts(n=")
