"""Write artifacts: weights, ONNX graph with a parity check, manifest."""

from embcompat.export.artifacts import save_aligner_pair, save_artifact
from embcompat.export.files import Canary, blend_people
from embcompat.export.graphs import GRAPHS, GraphBuilder, build_graph
from embcompat.export.unweight import convert_unweighted, read_query_weights, unweight_artifact

__all__ = [
    "GRAPHS",
    "Canary",
    "GraphBuilder",
    "blend_people",
    "build_graph",
    "convert_unweighted",
    "read_query_weights",
    "save_aligner_pair",
    "save_artifact",
    "unweight_artifact",
]
