"""The space graph: spaces, the aligners between them, and the best path from one to another."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from embcompat.errors import InputError, RegistryError, UnknownNameError
from embcompat.registry import AlignerEntry, Registry
from embcompat.spaces import SpaceVersion, require_space

RETENTION = "retention"
"""Name of the metric in a manifest that weighs edges: the share of native search that a converted vector retains, with
its interval. `embcompat fit` records it."""


@dataclass(frozen=True)
class Edge:
    """One aligner in the space graph.

    Attributes:
        source: Space of the vectors that go in.
        target: Space of the vectors that come out.
        aligner: Id of its artifact.
        retention: Lower end of the interval of its measured retention, or None when it was not measured.
    """

    source: SpaceVersion
    target: SpaceVersion
    aligner: str
    retention: float | None

    @classmethod
    def of(cls, entry: AlignerEntry) -> Edge:
        """Return the edge of a published aligner; its retention is the one on test data, else on validation data."""
        lows = {metric.part: metric.low for metric in entry.manifest.metrics if metric.name == RETENTION}
        return cls(entry.source, entry.target, entry.id, lows.get("test", lows.get("validation")))


@dataclass(frozen=True)
class Route:
    """Aligners that lead from one space to another, one after the other.

    Attributes:
        source: The space where it begins.
        target: The space where it ends.
        edges: The aligners in the order of use; none when source and target are the same.
        retention: Product of the edges' lower ends, each at most 1, by which the route was chosen. It is not a
            measurement of the route; `evaluate_path` measures it.
    """

    source: SpaceVersion
    target: SpaceVersion
    edges: tuple[Edge, ...]
    retention: float


def edges_of(registry: Registry) -> tuple[Edge, ...]:
    """List the aligners that a path may use: not retired, and not leading into a retired space."""
    retired = registry.standing().retired
    return tuple(Edge.of(entry) for entry in registry.list_aligners() if entry.target.id not in retired)


def path(
    graph: Registry | Sequence[Edge],
    source: str | SpaceVersion,
    target: str | SpaceVersion,
    *,
    unmeasured: float | None = None,
) -> Route:
    """Find the path with the largest product of retentions.

    An edge weighs max(0, −log r), where r is the lower end of the interval of its retention, so an aligner that was
    measured on few items counts less [ours]. Among equally good paths, the one with the fewest steps is chosen.

    Args:
        graph: A registry, or edges.
        source: Where the vectors are: ``name@version``, a label of the registry, or the space itself, which must
            then agree with the graph's in every field.
        target: The space to convert them to.
        unmeasured: Retention to assume for aligners without a measured one; None leaves these aligners out.

    Raises:
        UnknownNameError: If no such space is in the graph.
        SpaceMismatchError: If a given space differs from the graph's.
        InputError: If ``unmeasured`` is not between 0 and 1.
        RegistryError: If there is no path; says what can be reached and which aligners were left out.

    Example:
        >>> spaces = [SpaceVersion(name="facenet", version=version, dim=128) for version in ("3", "11", "46.4")]
        >>> edges = [
        ...     Edge(spaces[0], spaces[1], "a", 0.95),
        ...     Edge(spaces[1], spaces[2], "b", 0.95),
        ...     Edge(spaces[0], spaces[2], "c", 0.80),
        ... ]
        >>> [edge.aligner for edge in path(edges, "facenet@3", "facenet@46.4").edges]
        ['a', 'b']
    """
    if unmeasured is not None and not 0 < unmeasured <= 1:
        raise InputError(f"unmeasured must be a retention above 0 and at most 1. Got {unmeasured}.")
    start, end = _resolve(graph, source, what="source"), _resolve(graph, target, what="target")
    edges = edges_of(graph) if isinstance(graph, Registry) else tuple(graph)
    reached = _dijkstra(edges, start.id, unmeasured)
    if end.id not in reached:
        skipped = [f"{edge.source.id} -> {edge.target.id}" for edge in edges if edge.retention is None]
        hint = ""
        if skipped and unmeasured is None:
            hint = f" Aligners without a measured retention were left out: {', '.join(skipped)}. Record a metric "
            hint += f"{RETENTION!r} with its interval when saving them, or pass unmeasured=…."
        others = ", ".join(sorted(reached.keys() - {start.id})) or "nothing"
        raise RegistryError(f"there is no path from {start.id} to {end.id}. From there one reaches {others}.{hint}")
    cost, steps = reached[end.id]
    for first, second in pairwise(steps):
        require_space(first.target, second.source, what=f"The target of {first.aligner[:12]}")
    return Route(start, end, steps, math.exp(-cost))


def to_mermaid(registry: Registry) -> str:
    """Draw the space graph as a Mermaid flowchart, which code hosts render in Markdown.

    Every space is a box with its labels. Every aligner is an arrow with its kind and the lower end of its retention.
    Retired spaces and aligners are dashed.

    Example:
        >>> registry = Registry("memory://", create=True)
        >>> registry.add_space(SpaceVersion(name="facenet", version="11", dim=128))
        >>> print(to_mermaid(registry))
        flowchart LR
            s0["facenet@11"]
    """
    retired, labels = registry.standing().retired, registry.standing().labels
    lines, name_of = ["flowchart LR"], {}
    for number, space in enumerate(registry.list_spaces(retired=True)):
        name_of[space.id] = f"s{number}"
        label_lines = "".join(f"<br>{label}" for label, subject in sorted(labels.items()) if subject == space.id)
        lines.append(f'    s{number}["{space.id}{label_lines}"]')
    for entry in registry.list_aligners(retired=True):
        low = Edge.of(entry).retention
        label_list = "".join(f", {label}" for label, subject in sorted(labels.items()) if subject == entry.id)
        text = f"{entry.manifest.kind} {entry.id[:6]}{'' if low is None else f', {low:.3f}'}{label_list}"
        arrow = "-.->" if entry.retired else "-->"
        lines.append(f'    {name_of[entry.source.id]} {arrow}|"{_mermaid_text(text)}"| {name_of[entry.target.id]}')
    dashed = [name for identifier, name in name_of.items() if identifier in retired]
    if dashed:
        lines += ["    classDef retired stroke-dasharray: 4", f"    class {','.join(dashed)} retired"]
    return "\n".join(lines)


def _mermaid_text(text: str) -> str:
    """Replace characters that could end a quoted text, or be markup inside it, by Mermaid's character codes."""
    return "".join(char if char.isalnum() or char in " .,_@+-" else f"#{ord(char)};" for char in text)


def _resolve(graph: Registry | Sequence[Edge], space: str | SpaceVersion, *, what: str) -> SpaceVersion:
    name = space if isinstance(space, str) else space.id
    if isinstance(graph, Registry):
        space_version = graph.find_space(name)
    else:
        known = {end.id: end for edge in graph for end in (edge.source, edge.target)}
        if name not in known:
            raise UnknownNameError("space", name, known)
        space_version = known[name]
    if isinstance(space, SpaceVersion):
        require_space(space, space_version, what=f"The {what}")
    return space_version


def _dijkstra(edges: Sequence[Edge], start: str, unmeasured: float | None) -> dict[str, tuple[float, tuple[Edge, ...]]]:
    """Return the cost and the edges of the cheapest path to every reachable space (Dijkstra, 1959)."""
    leaving: dict[str, list[tuple[float, Edge]]] = {}
    for edge in edges:
        retention = unmeasured if edge.retention is None else edge.retention
        if retention is not None and retention > 0:
            leaving.setdefault(edge.source.id, []).append((max(0.0, -math.log(retention)), edge))
    reached: dict[str, tuple[float, tuple[Edge, ...]]] = {}
    waiting: list[tuple[float, int, tuple[str, ...], str, tuple[Edge, ...]]] = [(0.0, 0, (), start, ())]
    while waiting:
        cost, count, ids, space, way = heapq.heappop(waiting)
        if space in reached:
            continue
        reached[space] = cost, way
        for weight, edge in leaving.get(space, []):
            entry = (cost + weight, count + 1, (*ids, edge.aligner), edge.target.id, (*way, edge))
            heapq.heappush(waiting, entry)
    return reached
