"""Whatever is in the files, only our errors come out, and nothing in them is ever run."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from embcompat.aligners import AffineAligner, load_aligner
from embcompat.aligners.chain import ChainAligner
from embcompat.artifact import (
    CANARY,
    GRAPH,
    MANIFEST,
    PAIRS,
    WEIGHTS,
    Artifact,
    parse_manifest,
    read_arrays,
    read_artifact,
)
from embcompat.embeddings import split_pairs
from embcompat.errors import ArtifactError, InputError, RegistryError
from embcompat.export import build_graph, save_artifact
from embcompat.graphs import check_graph
from embcompat.registry import Registry
from embcompat.runtime import OnnxAligner
from embcompat.testing import make_pairs

FILES = (WEIGHTS, GRAPH, PAIRS, CANARY)
OURS = (ArtifactError, InputError)
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of an artifact with two steps, a canary and pairs."""
    split = split_pairs(make_pairs(60, source_dim=4, target_dim=3).pairs)
    rng = np.random.default_rng(0)
    turn = AffineAligner(rng.standard_normal((4, 4)), np.zeros(4), normalize=True)
    chain = ChainAligner([turn, AffineAligner(rng.standard_normal((3, 4)), np.ones(3))])
    spaces = {"source": split.train.source.space, "target": split.train.target.space}
    artifact = save_artifact(chain, tmp_path_factory.mktemp("original") / "a", split=split, **spaces)
    return {entry.name: entry.read_bytes() for entry in artifact.path.iterdir()}


@st.composite
def damage(draw: st.DrawFn, data: bytes) -> bytes:
    """Change bytes: flip, replace, cut out, insert, truncate or repeat some."""
    at = draw(st.integers(0, len(data) - 1))
    length = draw(st.sampled_from([1, 2, 8, 64]))
    how = draw(st.sampled_from(["flip", "replace", "cut", "insert", "truncate", "repeat"]))
    if how == "flip":
        return data[:at] + bytes([data[at] ^ (1 << draw(st.integers(0, 7)))]) + data[at + 1 :]
    if how == "truncate":
        return data[:at]
    if how == "cut":
        return data[:at] + data[at + length :]
    if how == "repeat":
        return data[:at] + data[at : at + length] * 2 + data[at + length :]
    new = draw(st.binary(min_size=1, max_size=length))
    return data[:at] + new + data[at + (len(new) if how == "replace" else 0) :]


def write(folder: Path, files: dict[str, bytes]) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def consistent(files: dict[str, bytes]) -> dict[str, bytes]:
    """Write the digests of the files into the manifest: what an attacker does, and no digest can show."""
    raw = json.loads(files[MANIFEST])
    raw["files"] = {name: hashlib.sha256(data).hexdigest() for name, data in files.items() if name != MANIFEST}
    return {**files, MANIFEST: canonical(raw)}


def canonical(raw: Any) -> bytes:
    return (
        json.dumps(raw, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
        + b"\n"
    )


def use(artifact: Artifact) -> list[Exception]:
    """Do with an artifact whatever can be done with it; return the errors."""
    rows = np.zeros((2, artifact.source.dim if artifact.source.dim < 100 else 1), np.float32)
    errors: list[Exception] = []
    ways: list[Callable[[], Any]] = [
        artifact.weights,
        artifact.graph,
        artifact.canary,
        artifact.pair_ids,
        lambda: load_aligner(artifact).transform(rows),
        lambda: OnnxAligner(artifact, threads=1).transform(rows),
    ]
    for way in ways:
        try:
            with np.errstate(all="ignore"):
                way()
        except OURS as error:
            errors.append(error)
    return errors


# --- every changed byte is noticed


@given(st.data())
@QUICK
def test_any_change_of_any_file_is_detected(
    original: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(FILES))
    changed = data.draw(damage(original[name]))
    if changed == original[name]:
        return
    folder = write(tmp_path_factory.mktemp("changed") / "a", {**original, name: changed})
    with pytest.raises(ArtifactError, match="is damaged"):
        read_artifact(folder)


@given(st.data())
@QUICK
def test_any_change_of_the_manifest_is_refused_or_is_another_id(
    original: dict[str, bytes], data: st.DataObject
) -> None:
    changed = data.draw(damage(original[MANIFEST]))
    with contextlib.suppress(ArtifactError):
        parse_manifest(changed)
        assert (
            changed == original[MANIFEST]
            or hashlib.sha256(changed).digest() != hashlib.sha256(original[MANIFEST]).digest()
        )


def test_every_single_byte_of_the_manifest_counts(original: dict[str, bytes]) -> None:
    data, identifiers = original[MANIFEST], {hashlib.sha256(original[MANIFEST]).hexdigest()}
    for at in range(len(data)):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with contextlib.suppress(ArtifactError):
            parse_manifest(changed)
            identifier = hashlib.sha256(changed).hexdigest()
            assert identifier not in identifiers
            identifiers.add(identifier)


@given(st.data())
@settings(max_examples=20, deadline=None)
def test_a_changed_byte_in_a_registry_is_found(
    original: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("registry")
    registry = Registry(folder / "registry", create=True)
    entry = registry.publish(write(folder / "a", original))
    registry.promote("production", entry.id, reason="better")
    files = sorted(path for path in (folder / "registry").rglob("*") if path.is_file())
    path = data.draw(st.sampled_from(files))
    initial = path.read_bytes()
    changed = data.draw(damage(initial))
    path.write_bytes(changed)
    if changed == initial:
        return
    where = path.relative_to(folder / "registry").as_posix()
    assert where in {damaged.path for damaged in registry.verify()}
    with contextlib.suppress(RegistryError, *OURS):
        assert Registry(folder / "registry").get(entry.id, folder / "fetched").id == entry.id


# --- hostile files with consistent digests: our errors, or a working artifact


@given(st.data())
@settings(max_examples=120, deadline=None)
def test_only_our_errors_come_out_of_changed_files(
    original: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(FILES))
    changed = data.draw(damage(original[name]))
    folder = tmp_path_factory.mktemp("hostile") / "a"
    use(read_artifact(write(folder, consistent({**original, name: changed}))))


@pytest.mark.parametrize("name", [b"weight", b"vectors", b"Gemm", b"onnx.compose"])
def test_a_name_that_is_no_text_is_refused(original: dict[str, bytes], name: bytes) -> None:
    graph = original[GRAPH]
    assert name in graph
    with pytest.raises(ArtifactError, match="not an ONNX model"):
        check_graph(graph.replace(name, name[:-1] + b"\xff"))


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["\ud800", "9" * 5_000, 10**400, [], {}, [[[]]], {"kind": "chain", "config": {"steps": []}}]),
    st.recursive(st.none(), lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2)),
)


@given(st.data())
@settings(max_examples=120, deadline=None)
def test_only_our_errors_come_out_of_changed_manifests(
    original: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    raw = json.loads(original[MANIFEST])
    inside = raw
    while True:  # walk to a random value and replace it
        keys = list(inside) if isinstance(inside, dict) else list(range(len(inside)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(inside[key], (dict, list)) or not inside[key] or data.draw(st.booleans()):
            break
        inside = inside[key]
    inside[key] = data.draw(VALUES)
    folder = write(tmp_path_factory.mktemp("hostile") / "a", {**original, MANIFEST: canonical(raw)})
    with contextlib.suppress(*OURS):
        use(read_artifact(folder))


@given(st.binary(max_size=200))
@QUICK
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ArtifactError):
        parse_manifest(data)
    with contextlib.suppress(ArtifactError):
        read_arrays(data, where="bytes")
    with contextlib.suppress(ArtifactError):
        check_graph(data)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, '{"schema_version":1,"schema_version":1}', "NaN"])
def test_json_that_is_a_trap_is_refused(text: str) -> None:
    with pytest.raises(ArtifactError):
        parse_manifest(text.encode())


def test_a_manifest_that_could_be_written_in_two_ways_is_refused(original: dict[str, bytes]) -> None:
    raw = json.loads(original[MANIFEST])
    for other in (
        json.dumps(raw, sort_keys=True).encode(),
        original[MANIFEST].rstrip(b"\n"),
        original[MANIFEST].replace(b'"kind"', b'"kin\\u0064"'),
        b"\xef\xbb\xbf" + original[MANIFEST],
        original[MANIFEST].replace(b'"dim":4', b'"dim":4.0'),
    ):
        with pytest.raises(ArtifactError):
            parse_manifest(other)
    raw["config"]["size"] = "\ud800"
    with pytest.raises(ArtifactError, match="cannot be written in canonical form"):
        parse_manifest(canonical(raw))
    raw["config"]["size"] = float("nan")
    with pytest.raises(ArtifactError, match="must|should be a finite number"):
        parse_manifest(canonical(raw))


# --- an aligner in the wrong direction


def test_weights_and_graphs_of_the_wrong_direction_are_refused(original: dict[str, bytes], tmp_path: Path) -> None:
    raw = json.loads(original[MANIFEST])
    raw["source"], raw["target"] = raw["target"], raw["source"]
    artifact = read_artifact(write(tmp_path / "a", consistent({**original, MANIFEST: canonical(raw)})))
    with pytest.raises(ArtifactError, match="is it the wrong direction"):
        load_aligner(artifact)
    with pytest.raises(ArtifactError, match=r"must take float vectors \(n, 3\)"):
        OnnxAligner(artifact)
    with pytest.raises(ArtifactError, match="float32 vectors of the artifact's two spaces"):
        artifact.canary()


# --- nothing is executed


class Bomb:
    """Unpickled, this writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.write_text, (self.path, "executed")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("form", ["pickle", "npy", "npz"])
def test_pickles_are_never_loaded(original: dict[str, bytes], tmp_path: Path, name: str, form: str) -> None:
    mark = tmp_path / "executed"
    bomb = pickle.dumps(Bomb(mark))
    if form != "pickle":
        array = np.empty(1, dtype=object)
        array[0] = Bomb(mark)
        with (tmp_path / "bomb").open("wb") as stream:
            if form == "npy":
                np.save(stream, array, allow_pickle=True)
            else:
                np.savez(stream, weight=array)
        bomb = (tmp_path / "bomb").read_bytes()
    errors = use(read_artifact(write(tmp_path / "a", consistent({**original, name: bomb}))))
    assert errors
    assert not mark.exists()
    pickle.loads(pickle.dumps(Bomb(mark)))
    assert mark.exists(), "the bomb must work where pickles are loaded"


def test_a_pickle_in_a_configuration_is_text(original: dict[str, bytes], tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    raw = json.loads(original[MANIFEST])
    raw["config"]["steps"][0]["kind"] = base64.b64encode(pickle.dumps(Bomb(mark))).decode()
    raw["calibration"] = {"loader": f"__import__('pathlib').Path({str(mark)!r}).write_text('executed')"}
    use(read_artifact(write(tmp_path / "a", {**original, MANIFEST: canonical(raw)})))
    assert not mark.exists()


@pytest.mark.parametrize("kind", ["os.system", "embcompat.testing", "", "__class__", "[/b]", "a|b", "\x1b[31m"])
def test_a_kind_that_is_no_name_is_refused(original: dict[str, bytes], tmp_path: Path, kind: str) -> None:
    raw = {**json.loads(original[MANIFEST]), "kind": kind}
    with pytest.raises(ArtifactError, match="kind"):
        read_artifact(write(tmp_path / "a", {**original, MANIFEST: canonical(raw)}))


@pytest.mark.parametrize("kind", ["class", "import_module"])
def test_a_kind_is_a_name_in_a_list_and_nothing_else(original: dict[str, bytes], tmp_path: Path, kind: str) -> None:
    raw = {**json.loads(original[MANIFEST]), "kind": kind}
    artifact = read_artifact(write(tmp_path / "a", {**original, MANIFEST: canonical(raw)}))
    with pytest.raises(InputError, match="There is no aligner called"):
        load_aligner(artifact)


def tiny() -> onnx.ModelProto:
    return build_graph(AffineAligner(np.eye(2), np.zeros(2)))


def external(tensor: TensorProto, path: str) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", path


def hide_in_initializer(model: onnx.ModelProto) -> None:
    external(model.graph.initializer[0], "/etc/hostname")


def hide_in_sparse_initializer(model: onnx.ModelProto) -> None:
    external(model.graph.sparse_initializer.add().values, "/etc/hostname")


def hide_in_attribute(model: onnx.ModelProto) -> None:
    tensor = numpy_helper.from_array(np.zeros(2, np.float32))
    external(tensor, "/etc/hostname")
    model.graph.node.append(helper.make_node("Constant", [], ["secret"], value=tensor))


def hide_in_branch(model: onnx.ModelProto) -> None:
    tensor = numpy_helper.from_array(np.zeros(2, np.float32), "secret")
    external(tensor, "/etc/hostname")
    branch = helper.make_graph([], "branch", [], [], [tensor])
    model.graph.node.append(helper.make_node("If", ["vectors"], ["x"], then_branch=branch, else_branch=branch))


def hide_in_function(model: onnx.ModelProto) -> None:
    tensor = numpy_helper.from_array(np.zeros(2, np.float32))
    external(tensor, "/etc/hostname")
    node = helper.make_node("Constant", [], ["secret"], value=tensor)
    model.functions.append(helper.make_function("", "Peek", [], ["secret"], [node], [helper.make_opsetid("", 18)]))


@pytest.mark.parametrize(
    "hide", [hide_in_initializer, hide_in_sparse_initializer, hide_in_attribute, hide_in_branch, hide_in_function]
)
def test_graphs_that_read_other_files_are_refused(hide: Callable[[onnx.ModelProto], None]) -> None:
    model = tiny()
    check_graph(model.SerializeToString())
    hide(model)
    with pytest.raises(ArtifactError, match="keeps data outside the file"):
        check_graph(model.SerializeToString())


def foreign_node(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Run", ["vectors"], ["x"], domain="com.example"))


def foreign_import(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.example", 1))


def foreign_node_in_branch(model: onnx.ModelProto) -> None:
    branch = helper.make_graph([helper.make_node("Run", [], ["y"], domain="com.example")], "branch", [], [])
    model.graph.node.append(helper.make_node("If", ["vectors"], ["x"], then_branch=branch, else_branch=branch))


def foreign_node_in_function(model: onnx.ModelProto) -> None:
    node = helper.make_node("Run", [], ["y"], domain="com.example")
    model.functions.append(helper.make_function("", "Trick", [], ["y"], [node], [helper.make_opsetid("", 18)]))


@pytest.mark.parametrize("add", [foreign_node, foreign_import, foreign_node_in_branch, foreign_node_in_function])
def test_graphs_with_custom_operators_are_refused(add: Callable[[onnx.ModelProto], None]) -> None:
    model = tiny()
    add(model)
    with pytest.raises(ArtifactError, match=r"outside the ONNX standard, which is refused: \['com.example'\]"):
        check_graph(model.SerializeToString())


def test_graphs_in_another_format_are_refused() -> None:
    # An unknown field at the start hides the mark by which onnxruntime knows its own format.
    disguised = b"\xfa\x7f\x06\x00ORTM\x00" + tiny().SerializeToString()
    assert onnx.load_model_from_string(disguised).graph == tiny().graph
    with pytest.raises(ArtifactError, match="must be in the ONNX format"):
        check_graph(disguised)


def test_a_graph_that_fails_or_returns_other_rows_is_refused(tmp_path: Path) -> None:
    spaces = make_pairs(20, source_dim=2, target_dim=2).pairs
    aligner = AffineAligner(np.eye(2), np.zeros(2))
    saved = save_artifact(aligner, tmp_path / "a", source=spaces.source.space, target=spaces.target.space)
    files = {entry.name: entry.read_bytes() for entry in saved.path.iterdir()}
    shape = helper.make_tensor_value_info
    for rows, message in (([3, 2], "fails"), ([1, -1, 2], "must return")):
        nodes = [
            helper.make_node("Constant", [], ["shape"], value=numpy_helper.from_array(np.array(rows))),
            helper.make_node("Reshape", ["vectors", "shape"], ["converted"]),
        ]
        output = shape("converted", TensorProto.FLOAT, None) if len(rows) == 3 else None
        output = output or shape("converted", TensorProto.FLOAT, ["batch", 2])
        graph = helper.make_graph(nodes, "g", [shape("vectors", TensorProto.FLOAT, ["batch", 2])], [output])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        changed = consistent({**files, GRAPH: model.SerializeToString()})
        with pytest.raises(ArtifactError, match=message):
            OnnxAligner(write(tmp_path / "b", changed)).transform(np.zeros((2, 2), np.float32))


def endless_loop(model: onnx.ModelProto) -> None:
    body = helper.make_graph([helper.make_node("Identity", ["keep"], ["again"])], "body", [], [])
    model.graph.node.append(helper.make_node("Loop", ["", "keep"], ["x"], body=body))


def huge_array(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("ConstantOfShape", ["shape"], ["x"]))


def function(model: onnx.ModelProto) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    model.functions.append(helper.make_function("", "Trick", ["x"], ["y"], [node], [helper.make_opsetid("", 18)]))


def not_finite(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.full((2, 2), np.nan, np.float32), "bad"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (endless_loop, "uses Loop, which is refused"),
        (huge_array, "uses ConstantOfShape, which is refused"),
        (function, "functions or sparse tensors"),
        (not_finite, "must hold finite numbers. Got NaN or infinity in 'bad'"),
    ],
)
def test_graphs_that_hang_or_fill_the_memory_are_refused(
    change: Callable[[onnx.ModelProto], None], message: str
) -> None:
    model = tiny()
    change(model)
    with pytest.raises(ArtifactError, match=message):
        check_graph(model.SerializeToString())


@pytest.mark.parametrize("name", [MANIFEST, WEIGHTS, GRAPH])
def test_a_pipe_in_place_of_a_file_is_refused_unopened(original: dict[str, bytes], tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "a", original)
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises((ArtifactError, InputError), match="must be a regular file|has no manifest"):
        read_artifact(folder)


def test_a_file_of_gigabytes_is_refused_unread(original: dict[str, bytes], tmp_path: Path) -> None:
    for name, limit in ((MANIFEST, "4,194,304"), (WEIGHTS, "2,147,483,648")):
        folder = write(tmp_path / name, original)
        os.truncate(folder / name, 20 << 30)
        with pytest.raises(ArtifactError, match=f"must be at most {limit} bytes"):
            read_artifact(folder)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    spaces = make_pairs(20, source_dim=2, target_dim=2).pairs
    saved = save_artifact(
        AffineAligner(np.eye(2), np.zeros(2)), tmp_path / "a", source=spaces.source.space, target=spaces.target.space
    )
    files = {entry.name: entry.read_bytes() for entry in saved.path.iterdir()}
    arrays = {**saved.weights(), "bias": np.full(2, np.inf)}
    artifact = read_artifact(write(tmp_path / "b", consistent({**files, WEIGHTS: safetensors.numpy.save(arrays)})))
    with pytest.raises(ArtifactError, match="must hold finite numbers. Got NaN or infinity in bias"):
        artifact.weights()
