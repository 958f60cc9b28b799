"""Kernels in a form that survives rounding: the tangent of the exponential apart from what lies above it.

The coefficients of a kernel aligner are large and cancel each other, so their rounding drowns what they say in noise.
With t = g u·c a similarity is e^s (1 + t + ρ(t)), where ρ(t) = e^t − 1 − t is small, and flat at 0. Constant and slope
become one more linear product, and only ρ meets the large coefficients. [ours]
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper


def expand_similarities(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    """Split every kernel of a graph into tangent and remainder; what the graph computes stays the same.

    A kernel is a product with a bias, an exponential and a product that is added to the linear part.

    Args:
        model: A graph from `build_graph`.

    Returns:
        The graph, and the names of its small products, which must stay exact: linear parts and output maps; the model
        itself and no names where it holds no kernel.
    """
    expanded = onnx.ModelProto()
    expanded.CopyFrom(model)
    graph = expanded.graph
    kernels = _kernels(graph)
    if not kernels:
        return model, []
    large: dict[str, int] = {}
    for kernel in kernels:
        large |= _expand(graph, *kernel)
    onnx.checker.check_model(expanded, full_check=True)
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    matrices = {
        node.name: math.prod(shapes[node.input[1]])
        for node in graph.node
        if node.op_type in ("Gemm", "MatMul") and node.name not in large and node.input[1] in shapes
    }
    return expanded, [name for name, size in matrices.items() if size <= max(large.values()) ** 2]


def _expand(graph: onnx.GraphProto, exponents: Any, exponential: Any, mapped: Any) -> dict[str, int]:
    """Put tangent and remainder in the place of a kernel; return its two large products and their vectors' lengths."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    gains, shift, coefficients = (
        numpy_helper.to_array(constants[name]).astype(np.float64)
        for name in (exponents.input[1], exponents.input[2], mapped.input[1])
    )
    scaled = np.exp(shift)[:, np.newaxis] * coefficients
    prefix = mapped.output[0]
    arrays = {"slopes": gains @ scaled, "sums": scaled.sum(axis=0), "one": np.ones(1), "scaled": scaled}
    names = {name: f"{prefix}.{name}" for name in (*arrays, "above", "remainders", "tangent", "curved")}
    for name in (exponents.input[2], mapped.input[1]):
        graph.initializer.remove(constants[name])
    graph.initializer.extend(
        numpy_helper.from_array(array.astype(np.float32), names[name]) for name, array in arrays.items()
    )
    units, products, similarities = exponents.input[0], exponents.output[0], exponential.output[0]
    nodes = (
        ("MatMul", [units, exponents.input[1]], products),
        ("Exp", [products], similarities),
        ("Sub", [similarities, products], names["above"]),
        ("Sub", [names["above"], names["one"]], names["remainders"]),
        ("MatMul", [names["remainders"], names["scaled"]], names["curved"]),
        ("MatMul", [units, names["slopes"]], names["tangent"]),
        # A sum of more than two stays apart from the products; "Add" would become part of one.
        ("Sum", [mapped.input[2], names["sums"], names["tangent"], names["curved"]], prefix),
    )
    place = list(graph.node).index(mapped)
    for offset, (operator, inputs, output) in enumerate(nodes):
        graph.node.insert(place + offset, helper.make_node(operator, inputs, [output], name=output))
    for node in (exponents, exponential, mapped):
        graph.node.remove(node)
    return {products: gains.shape[0], names["curved"]: coefficients.shape[1]}


def _kernels(graph: onnx.GraphProto) -> list[tuple[Any, Any, Any]]:
    """Return the three nodes of every kernel."""
    makers = {node.output[0]: node for node in graph.node if _is_product(node)}
    readers = {node.input[0]: node for node in graph.node if _is_product(node)}
    return [
        (makers[node.input[0]], node, readers[node.output[0]])
        for node in graph.node
        if node.op_type == "Exp" and node.input[0] in makers and node.output[0] in readers
    ]


def _is_product(node: Any) -> bool:
    return node.op_type == "Gemm" and len(node.input) == 3 and not node.attribute
