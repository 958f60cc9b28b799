"""Paths through the space graph: find them, compose them into one aligner, and measure them."""

from embcompat.chains.composition import (
    PathReport,
    compose,
    convert_through,
    evaluate_path,
    save_composed,
    scores_via,
)
from embcompat.chains.graph import Edge, Route, edges_of, path, to_mermaid

__all__ = [
    "Edge",
    "PathReport",
    "Route",
    "compose",
    "convert_through",
    "edges_of",
    "evaluate_path",
    "path",
    "save_composed",
    "scores_via",
    "to_mermaid",
]
