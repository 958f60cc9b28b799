from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from embcompat.errors import ExtractionError, InputError, MissingExtraError, UnknownNameError
from embcompat.extractors import (
    ENTRY_POINT_GROUP,
    Extractor,
    SkippedItem,
    extract_embeddings,
    list_extractors,
    load_extractor,
)
from embcompat.extractors.discovery import PLUGINS
from embcompat.extractors.models import PackagedFile, choose_output, open_onnx, sha256_of, space_name
from embcompat.spaces import SpaceVersion
from embcompat.testing.extractors import check_extractor

SPACE = SpaceVersion(name="letters", version="1", dim=3, similarity="euclidean", fingerprint={"letters": "abc"})


class Letters:
    """Counts of a, b and c; refuses whatever is not a string."""

    space = SPACE
    chunk_size = 4

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def extract(self, items: Sequence[Any]) -> NDArray[np.float32]:
        self.sizes.append(len(items))
        for item in items:
            if not isinstance(item, str):
                raise ExtractionError(f"a text must be a string. Got {item!r}")
        counts = [[item.count(letter) for letter in "abc"] for item in items]
        return np.array(counts, dtype=np.float32).reshape(len(items), 3)


class Returning(Letters):
    """Returns what it was told to."""

    def __init__(self, change: Callable[[NDArray[np.float32]], Any], space: SpaceVersion = SPACE) -> None:
        super().__init__()
        self.change, self.space = change, space

    def extract(self, items: Sequence[Any]) -> Any:
        return self.change(super().extract(items))


WORDS = ["a", "bb", "cab", "abc" * 3, "b", "cc", "ba", "aab", "c"]


# extract_embeddings


def test_rows_ids_and_labels_follow_the_items() -> None:
    letters, done = Letters(), []
    found = extract_embeddings(
        letters, WORDS, ids=[f"w{row}" for row in range(9)], labels=["x"] * 9, progress=done.append
    )
    np.testing.assert_array_equal(found.vectors, [[word.count(letter) for letter in "abc"] for word in WORDS])
    assert found.ids.tolist() == [f"w{row}" for row in range(9)]
    assert found.labels is not None
    assert found.labels.tolist() == ["x"] * 9
    assert found.space is SPACE
    assert letters.sizes == [4, 4, 1]
    assert done == [4, 4, 1]


def test_ids_are_row_numbers_by_default() -> None:
    assert extract_embeddings(Letters(), ["a", "b"]).ids.tolist() == ["0", "1"]


def test_no_items() -> None:
    found = extract_embeddings(Letters(), [])
    assert found.vectors.shape == (0, 3)


def test_a_bad_item_ends_the_run_and_is_named() -> None:
    with pytest.raises(
        ExtractionError, match=r"item 'six' \(row 5\) cannot be embedded: a text must be a string. Got 5"
    ):
        extract_embeddings(Letters(), ["a", "b", "c", "a", "b", 5], ids=["one", "two", "three", "four", "five", "six"])


def test_bad_items_are_skipped_and_listed_in_order() -> None:
    skipped: list[SkippedItem] = []
    found = extract_embeddings(
        Letters(), ["a", None, "b", "", 7, "c"], ids=list("uvwxyz"), labels=list("UVWXYZ"), on_skip=skipped.append
    )
    assert found.ids.tolist() == ["u", "w", "z"]
    assert found.labels is not None
    assert found.labels.tolist() == ["U", "W", "Z"]
    np.testing.assert_array_equal(found.vectors, np.eye(3))
    assert skipped == [
        SkippedItem(1, "v", "a text must be a string. Got None"),
        SkippedItem(3, "x", "the extractor returned all zeros"),
        SkippedItem(4, "y", "a text must be a string. Got 7"),
    ]


def test_everything_may_be_skipped() -> None:
    skipped: list[SkippedItem] = []
    assert len(extract_embeddings(Letters(), [1, 2, 3], on_skip=skipped.append)) == 0
    assert [item.row for item in skipped] == [0, 1, 2]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_a_failed_item(value: float) -> None:
    def spoil(found: NDArray[np.float32]) -> NDArray[np.float32]:
        found[1:2] = value
        return found

    with pytest.raises(ExtractionError, match=r"item '1' \(row 1\).*NaN or infinity"):
        extract_embeddings(Returning(spoil), ["a", "b", "c"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found[:, :2], r"shape \(2, 3\). Got ndarray of shape \(2, 2\) and dtype float32"),
        (lambda found: found[:1], r"Got ndarray of shape \(1, 3\)"),
        (lambda found: found.astype(np.float64), "dtype float64"),
        (lambda found: found.tolist(), "Got list of shape None"),
    ],
)
def test_what_is_not_a_float32_array_of_the_space_is_refused(change: Callable[[Any], Any], message: str) -> None:
    skipped: list[SkippedItem] = []
    with pytest.raises(ExtractionError, match=message):
        extract_embeddings(Returning(change), ["a", "b"], on_skip=skipped.append)
    assert not skipped


def test_a_normalized_space_needs_unit_vectors() -> None:
    space = SPACE.model_copy(update={"normalized": True})
    with pytest.raises(InputError, match="must have unit norm"):
        extract_embeddings(Returning(lambda found: 2 * found, space), ["a", "b"])


@pytest.mark.parametrize("items", ["abc", b"abc", iter(["a"])])
def test_items_must_be_a_sequence(items: Any) -> None:
    with pytest.raises(InputError, match="items must be a sequence of items"):
        extract_embeddings(Letters(), items)


def test_ids_are_checked_before_the_model_runs() -> None:
    letters = Letters()
    with pytest.raises(InputError, match="ids must be unique"):
        extract_embeddings(letters, ["a", "b"], ids=["x", "x"])
    with pytest.raises(InputError, match="labels must have one entry"):
        extract_embeddings(letters, ["a", "b"], labels=["x"])
    assert not letters.sizes


# check_extractor


def test_a_good_extractor_passes() -> None:
    assert isinstance(Letters(), Extractor)
    check_extractor(Letters(), WORDS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found[:, :2], "must return shape"),
        (lambda found: found.astype(np.float64), "must return float32"),
        (lambda found: found * np.float32(np.nan), "must return finite"),
        (lambda found: found * 0, "must not return zeros"),
        (lambda found: found * 0 + 1, "different items must get different vectors"),
        (lambda found: found + np.float32(len(found)), "one item alone"),
        (lambda found: found + np.linspace(0, 1, len(found), dtype=np.float32)[:, np.newaxis], "one item alone"),
        (lambda found: found if len(found) else found.reshape(0, 3).astype(np.float64), "no items must give"),
    ],
)
def test_a_bad_extractor_is_told_what_is_wrong(change: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_extractor(Returning(change), WORDS)


def test_a_random_extractor_is_told_so() -> None:
    rng = np.random.default_rng(0)
    noisy = Returning(lambda found: found + rng.standard_normal(found.shape).astype(np.float32))
    with pytest.raises(AssertionError, match="the same items must give the same vectors twice"):
        check_extractor(noisy, WORDS)


def test_a_space_without_fingerprint_or_with_wrong_norm_is_told_so() -> None:
    with pytest.raises(AssertionError, match="fingerprint must not be empty"):
        check_extractor(Returning(lambda found: found, SPACE.model_copy(update={"fingerprint": {}})), WORDS)
    with pytest.raises(AssertionError, match="says normalized"):
        check_extractor(Returning(lambda found: found, SPACE.model_copy(update={"normalized": True})), WORDS)
    with pytest.raises(AssertionError, match="at least three items"):
        check_extractor(Letters(), WORDS[:2])


# discovery


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, str], None]:
    """Install a distribution that registers one extractor."""

    def install(distribution: str, line: str, source: str) -> None:
        module = distribution.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(source))
        info = tmp_path / f"{module}-2.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 2.5\n")
        (info / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\n{line}\n")

    monkeypatch.syspath_prepend(tmp_path)
    return install


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
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# model files


def graph(path: Path, *, operator: str = "Identity", outputs: int = 1, external: bool = False) -> Path:
    """Write a graph that returns its input (n, 2) once or more often."""
    names = [f"out{number}" for number in range(outputs)]
    nodes = [helper.make_node(operator, ["x"], [name]) for name in names]
    shape = ("n", 2)
    weights = [onnx.numpy_helper.from_array(np.ones((64, 64), dtype=np.float32), "unused")] if external else []
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in names],
        weights,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path, save_as_external_data=external, size_threshold=0)
    return path


def test_an_onnx_file_is_opened_with_its_digest(tmp_path: Path) -> None:
    path = graph(tmp_path / "g.onnx")
    opened = open_onnx(path)
    rows = np.array([[1, 2], [3, 4]], dtype=np.float32)
    np.testing.assert_array_equal(opened.session.run(None, {"x": rows})[0], rows)
    assert opened.sha256 == sha256_of(path)
    assert not opened.batch_dependent


def test_files_that_are_no_whole_onnx_model_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(InputError, match="is not an ONNX model"):
        open_onnx(tmp_path / "bad.onnx")
    with pytest.raises(InputError, match="does not exist"):
        open_onnx(tmp_path / "absent.onnx")
    with pytest.raises(InputError, match="must hold all its weights"):
        open_onnx(graph(tmp_path / "outside.onnx", external=True))
    large = onnx.load(tmp_path / "outside.onnx", load_external_data=False)
    next(entry for entry in large.graph.initializer[0].external_data if entry.key == "length").value = str(3 << 30)
    onnx.save(large, tmp_path / "large.onnx")
    with pytest.raises(InputError, match="They take 3.0 GiB, and one ONNX file holds at most 2. Export the model in"):
        open_onnx(tmp_path / "large.onnx")
    with pytest.raises(InputError, match="onnxruntime cannot load"):
        open_onnx(graph(tmp_path / "unknown.onnx", operator="NoSuchOperator"))


def test_the_output_is_chosen_only_where_there_is_one_choice(tmp_path: Path) -> None:
    one, two = open_onnx(graph(tmp_path / "1.onnx")), open_onnx(graph(tmp_path / "2.onnx", outputs=2))
    assert choose_output(one, None, rank=2, where="g") == "out0"
    assert choose_output(two, "out1", rank=2, where="g") == "out1"
    with pytest.raises(InputError, match=r"output must name one float output of g with 2 axes. Got None; .*out0.*out1"):
        choose_output(two, None, rank=2, where="g")
    with pytest.raises(InputError, match="with 3 axes"):
        choose_output(one, "out0", rank=3, where="g")


def test_a_packaged_file_is_found_and_verified(plugin: Callable[[str, str, str], None], tmp_path: Path) -> None:
    plugin("plug-file", "file = plug_file:x", "weights = 1")
    digest = sha256_of(tmp_path / "plug_file.py")
    file = PackagedFile("plug-file", "plug-file==2.5", "plug_file.py", digest)
    assert file.locate(purpose="A test") == tmp_path / "plug_file.py"
    (tmp_path / "plug_file.py").write_text("weights = 2")
    with pytest.raises(ExtractionError, match=rf"must have sha256 {digest}. Got [0-9a-f]+. Install it again"):
        file.locate(purpose="A test")
    (tmp_path / "plug_file.py").unlink()
    with pytest.raises(ExtractionError, match="Got no such file"):
        file.locate(purpose="A test")
    with pytest.raises(MissingExtraError, match="A test needs the package 'plug-none'.*pip install 'plug-none==1'"):
        PackagedFile("plug-none", "plug-none==1", "x", digest).locate(purpose="A test")


@pytest.mark.parametrize(
    ("text", "name"),
    [("Org/My Model", "my-model"), ("a/b/", "b"), ("模型", "model"), ("_x.", "x"), ("v1.5_B", "v1.5_b")],
)
def test_space_names_are_made_of_model_names(text: str, name: str) -> None:
    assert space_name(text) == name
    SpaceVersion(name=space_name(text), version="1", dim=1)
