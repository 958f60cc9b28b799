from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points

import pytest

from embcompat.errors import InputError, MissingExtraError, UnknownNameError
from embcompat.extractors import (
    ENTRY_POINT_GROUP,
    Extractor,
    list_extractors,
    load_extractor,
)
from embcompat.extractors.discovery import PLUGINS

LETTERS_SOURCE = '''
    """A plug-in."""
    import numpy as np
    from embcompat.spaces import SpaceVersion

    class Letters:
        """Counts letters.

        More about it.
        """

        chunk_size = 4

        def __init__(self, model="abc", *, scale=1):
            self.space = SpaceVersion(name=model, version="1", dim=scale)

        def extract(self, items):
            return np.ones((len(items), self.space.dim), dtype=np.float32)
'''


def test_listing_names_the_package_and_imports_nothing(plugin: Callable[[str, str, str], None]) -> None:
    plugin("plug-heavy", "heavy = plug_heavy:Heavy", 'class Heavy:\n    """Never imported."""\nraise SystemError\n')
    (info,) = [info for info in list_extractors() if info.name == "heavy"]
    assert (info.distribution, info.version, info.description) == ("plug-heavy", "2.5", "Never imported.")
    assert "plug_heavy" not in sys.modules


def test_a_description_is_empty_where_there_is_no_source(plugin: Callable[[str, str, str], None]) -> None:
    plugin("plug-odd", "odd = plug_absent.inner:Odd\nodd2 = plug_odd:NoDoc\nodd3 = sys:path", "class NoDoc: pass")
    odd = [info.description for info in list_extractors() if info.name.startswith("odd")]
    assert odd == ["", "", ""]


def test_loading_passes_the_model_and_the_options(plugin: Callable[[str, str, str], None]) -> None:
    plugin("plug-letters", "letters = plug_letters:Letters", LETTERS_SOURCE)
    loaded = load_extractor("letters", "xyz", scale=5)
    assert isinstance(loaded, Extractor)
    assert (loaded.space.name, loaded.space.dim) == ("xyz", 5)


def test_wrong_options_list_the_right_ones(plugin: Callable[[str, str, str], None]) -> None:
    plugin("plug-options", "options = plug_options:Letters", LETTERS_SOURCE)
    with pytest.raises(
        InputError, match=r"'options' cannot be called like this.*'size'. It takes: model='abc', scale=1"
    ):
        load_extractor("options", size=3)


def test_what_is_no_extractor_is_refused(plugin: Callable[[str, str, str], None]) -> None:
    plugin("plug-dict", "dict = plug_dict:make", "def make(): return {}")
    with pytest.raises(
        InputError, match="'dict' of package plug-dict must have space, chunk_size and extract. Got dict"
    ):
        load_extractor("dict")


def test_a_missing_dependency_of_a_plugin_is_named(plugin: Callable[[str, str, str], None]) -> None:
    plugin("plug-needy", "needy = plug_needy:Needy", "import package_that_is_not_there")
    with pytest.raises(MissingExtraError, match=r"'needy' needs the package 'package_that_is_not_there'.*'plug-needy'"):
        load_extractor("needy")


def test_two_packages_with_one_name_are_told_apart(plugin: Callable[[str, str, str], None]) -> None:
    for number in (1, 2):
        plugin(f"plug-twin-{number}", f"twin = plug_twin_{number}:Letters", LETTERS_SOURCE)
    assert [info.distribution for info in list_extractors() if info.name == "twin"] == ["plug-twin-1", "plug-twin-2"]
    with pytest.raises(InputError, match="'twin': plug-twin-1, plug-twin-2. Uninstall all but one"):
        load_extractor("twin")


def test_an_unknown_name_lists_the_known_ones_and_their_packages(plugin: Callable[[str, str, str], None]) -> None:
    plugin("plug-known", "known = plug_known:Letters", LETTERS_SOURCE)
    with pytest.raises(UnknownNameError, match=r"no extractor called 'nope'.*known \(from plug-known\)"):
        load_extractor("nope")


def test_a_name_of_our_own_plugin_tells_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embcompat.plugins.entry_points", lambda **_: [])
    with pytest.raises(MissingExtraError, match="pip install 'embcompat-face'"):
        load_extractor("dlib")
    with pytest.raises(UnknownNameError, match=r"minilm \(pip install embcompat-text\)"):
        load_extractor("nope")
    assert list_extractors() == []


def test_our_plugins_register_what_the_table_says() -> None:
    registered: dict[str, list[str]] = {}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        assert point.dist is not None
        registered.setdefault(point.dist.name, []).append(point.name)
    assert {name: tuple(sorted(registered[name])) for name in PLUGINS} == PLUGINS


def test_listing_real_plugins_loads_no_heavy_module() -> None:
    code = "import sys; from embcompat.extractors import list_extractors; assert len(list_extractors()) >= 9;"
    code += "print([n for n in ('torch', 'sentence_transformers', 'onnxruntime', 'dlib', 'PIL') if n in sys.modules])"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "[]"
