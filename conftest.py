"""Every Python block of README and docs is a test; the blocks of one page run in order, in an empty folder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.testing
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser


def _enter(namespace: dict[str, Any]) -> None:
    namespace["_before"] = Path.cwd()
    namespace["_folder"] = tempfile.TemporaryDirectory()
    os.chdir(namespace["_folder"].name)


def _leave(namespace: dict[str, Any]) -> None:
    os.chdir(namespace["_before"])
    namespace["_folder"].cleanup()


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser()], patterns=["*.md"], setup=_enter, teardown=_leave
).pytest()


@pytest.fixture(scope="session", autouse=True)
def one_command_line() -> Iterator[None]:
    """Build the commands once: typer's runner builds all of them anew for every call, which takes 0.1 s."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.testing, "_get_command", cache(typer.main.get_command))
        yield


@pytest.fixture(scope="session", autouse=True)
def one_static_model() -> Iterator[None]:
    """Load the static model once for all tests of a process: its table takes seconds."""
    from embcompat_text import packaged

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packaged, "static64", cache(packaged.static64))
        yield


IMAGE_MATRIX = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)


@pytest.fixture(scope="session")
def write_image_graph() -> Callable[..., Path]:
    """A writer of tiny ONNX graphs that stand in for image models: the mean of each channel times `IMAGE_MATRIX`.

    With ``half``, the mean of the left half, so that a mirror image differs; with ``switch``, the vector is negated
    where the boolean input ``phase_train`` is on; with ``norm``, its norm is a second output, (n, 1).
    """
    from onnx import TensorProto, helper, numpy_helper, save

    def write(
        path: Path,
        shape: Sequence[int | str | None],
        *,
        axes: tuple[int, int] | tuple[int] = (2, 3),
        switch: bool = False,
        half: bool = False,
        norm: bool = False,
        before: Sequence[Any] = (),
    ) -> Path:
        inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)]
        outputs = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, (shape[0], 5))]
        values = {"axes": np.array(axes), "matrix": IMAGE_MATRIX}
        nodes = [*before, helper.make_node("Identity", [before[-1].output[0] if before else "image"], ["pixels"])]
        if half:
            values |= {"start": np.array([0]), "end": np.array([shape[axes[-1]] // 2]), "side": np.array(axes[-1:])}
            nodes.append(helper.make_node("Slice", ["pixels", "start", "end", "side"], ["part"]))
        nodes.append(helper.make_node("ReduceMean", ["part" if half else "pixels", "axes"], ["means"], keepdims=0))
        nodes.append(helper.make_node("MatMul", ["means", "matrix"], ["product"]))
        if switch:
            inputs.append(helper.make_tensor_value_info("phase_train", TensorProto.BOOL, ()))
            nodes.append(helper.make_node("Neg", ["product"], ["negative"]))
            nodes.append(helper.make_node("Where", ["phase_train", "negative", "product"], ["embedding"]))
        else:
            nodes.append(helper.make_node("Identity", ["product"], ["embedding"]))
        if norm:
            values["one"] = np.array([1])
            outputs.append(helper.make_tensor_value_info("norm", TensorProto.FLOAT, (shape[0], 1)))
            nodes.append(helper.make_node("ReduceL2", ["product", "one"], ["norm"], keepdims=1))
        weights = [numpy_helper.from_array(value, name) for name, value in values.items()]
        graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
        save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
        return path

    return write


@pytest.fixture(scope="session")
def image_matrix() -> Any:
    """The matrix of `write_image_graph`'s graphs."""
    return IMAGE_MATRIX
