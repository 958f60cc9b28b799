from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from embcompat.errors import ExtractionError, InputError, MissingExtraError
from embcompat.extractors.models import PackagedFile, choose_output, open_onnx, sha256_of, space_name
from embcompat.spaces import SpaceVersion


def graph(path: Path, *, operator: str = "Identity", outputs: int = 1, external: bool = False) -> Path:
    """Write a graph that returns its input (n, 2) once or more often."""
    names = [f"out{number}" for number in range(outputs)]
    nodes = [helper.make_node(operator, ["x"], [name]) for name in names]
    shape = ("n", 2)
    weights = [onnx.numpy_helper.from_array(np.ones((64, 64), dtype=np.float32), "unused")] if external else []
    proto = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in names],
        weights,
    )
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
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
