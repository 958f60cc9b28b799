"""Write artifacts: weights, ONNX graph with a parity check, manifest."""

from embcompat.export.artifacts import save_aligner_pair, save_artifact
from embcompat.export.graphs import GRAPHS, GraphBuilder, build_graph
from embcompat.export.unweight import unweight_artifact

__all__ = ["GRAPHS", "GraphBuilder", "build_graph", "save_aligner_pair", "save_artifact", "unweight_artifact"]
