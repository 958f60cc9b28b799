"""How a registry is shown: lists, a tree of the graph, one entry, a route."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from embcompat.cli.console import output, print_json

if TYPE_CHECKING:
    from embcompat.chains import PathReport, Route
    from embcompat.registry import AlignerEntry, Registry
    from embcompat.spaces import SpaceVersion


def print_lists(registry: Registry, *, retired: bool, as_json: bool) -> None:
    """Print spaces, aligners and labels."""
    spaces, aligners = registry.list_spaces(retired=retired), registry.list_aligners(retired=retired)
    if as_json:
        print_json(_graph_json(registry, spaces, aligners))
        return
    table = Table("space", "dim", "similarity", "normalized", "labels", box=None, header_style="bold")
    for space in spaces:
        labels = _labels(registry, space.id)
        table.add_row(space.id, str(space.dim), space.similarity, "yes" if space.normalized else "no", labels)
    output().print(table)
    table = Table("aligner", "from", "to", "kind", "retention", "labels", box=None, header_style="bold")
    for entry in aligners:
        kind = f"{entry.manifest.kind} (retired)" if entry.retired else entry.manifest.kind
        labels = _labels(registry, entry.id)
        table.add_row(entry.id[:12], entry.source.id, entry.target.id, kind, _retention(entry), labels)
    output().print(table)


def print_graph(registry: Registry, *, as_json: bool) -> None:
    """Print every space with the aligners that leave it."""
    spaces, aligners = registry.list_spaces(retired=True), registry.list_aligners(retired=True)
    if as_json:
        print_json(_graph_json(registry, spaces, aligners))
        return
    retired = registry.standing().retired
    tree = Tree(Text(registry.url, style="bold"))
    for space in spaces:
        details = (f"{space.dim}-d, {space.similarity}", "dim")
        title = _line((space.id, ""), details, (_labels(registry, space.id), "green"))
        node = tree.add(_line((space.id, "strike"), ("retired", "dim")) if space.id in retired else title)
        for entry in aligners:
            if entry.source.id == space.id:
                node.add(_aligner_line(registry, entry))
    output().print(tree)


def print_entry(registry: Registry, name: str, *, as_json: bool) -> None:
    """Print everything about a space or an aligner."""
    subject = registry.standing().labels.get(name, name)
    if "@" in subject:
        space = registry.find_space(subject)
        fields: dict[str, Any] = space.model_dump()
        fields["has_reference"] = registry.reference(space) is not None
    else:
        entry = registry.find_aligner(subject)
        fields = {"id": entry.id, "retired": entry.retired, **entry.manifest.model_dump(mode="json")}
        subject = entry.id
    events = [event for event in registry.events() if event.subject == subject]
    fields["events"] = [event.model_dump(mode="json", exclude={"schema_version", "subject"}) for event in events]
    if as_json:
        print_json(fields)
    else:
        output().print_json(data=fields)


def print_route(route: Route, report: PathReport | None, *, as_json: bool) -> None:
    """Print the steps of a route, and its measured figures."""
    steps = [
        {"source": edge.source.id, "target": edge.target.id, "aligner": edge.aligner, "retention": edge.retention}
        for edge in route.edges
    ]
    if as_json:
        fields: dict[str, Any] = {"source": route.source.id, "target": route.target.id, "steps": steps}
        fields["retention_product"] = route.retention
        fields["measured"] = None if report is None else report.to_dict()
        print_json(fields)
        return
    console = output()
    console.print(" → ".join([route.source.id, *(edge.target.id for edge in route.edges)]))
    for edge in route.edges:
        low = "not measured" if edge.retention is None else f"retention ≥ {edge.retention:.3f}"
        console.print(f"  {edge.source.id} → {edge.target.id}  {edge.aligner[:12]}  {low}")
    console.print(
        f"Product of the retentions: {route.retention:.3f} (the path is chosen by it; measure with --old-gallery …)."
    )
    if report is not None:
        console.print(f"Measured on {report.pairs:,} held-out pairs, {report.metric} with 95 % interval:")
        console.print(f"  chain {report.chain:.3f}, direct {report.direct:.3f}, difference {report.difference:.3f}")


def _graph_json(
    registry: Registry, spaces: tuple[SpaceVersion, ...], aligners: tuple[AlignerEntry, ...]
) -> dict[str, Any]:
    retired = registry.standing().retired
    return {
        "registry": registry.url,
        "spaces": [{**space.model_dump(), "id": space.id, "retired": space.id in retired} for space in spaces],
        "aligners": [
            {
                "id": entry.id,
                "source": entry.source.id,
                "target": entry.target.id,
                "kind": entry.manifest.kind,
                "retired": entry.retired,
                "metrics": [metric.model_dump() for metric in entry.manifest.metrics],
            }
            for entry in aligners
        ],
        "labels": dict(registry.standing().labels),
    }


def _labels(registry: Registry, subject: str) -> str:
    return ", ".join(sorted(label for label, current in registry.standing().labels.items() if current == subject))


def _retention(entry: AlignerEntry) -> str:
    from embcompat.chains import Edge

    low = Edge.of(entry).retention
    return "not measured" if low is None else f"≥ {low:.3f}"


def _aligner_line(registry: Registry, entry: AlignerEntry) -> Text:
    details = f"{entry.manifest.kind} {entry.id[:12]}, retention {_retention(entry)}"
    line = _line((f"→ {entry.target.id}", ""), (details, "dim"), (_labels(registry, entry.id), "green"))
    if not entry.retired:
        return line
    line.stylize("strike")
    return line.append(" retired", style="dim")


def _line(*parts: tuple[str, str]) -> Text:
    """Join texts that have a style each; empty ones are left out."""
    return Text("  ").join(Text(text, style=style) for text, style in parts if text)
