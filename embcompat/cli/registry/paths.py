"""``embcompat registry path`` and ``compose``: ways through the space graph."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embcompat.cli.console import output, print_json, show_next
from embcompat.cli.inputs.embeddings import load_embeddings
from embcompat.cli.registry.options import Json, Url
from embcompat.cli.registry.view import print_route
from embcompat.errors import InputError, RegistryError

if TYPE_CHECKING:
    from embcompat.artifact import Artifact
    from embcompat.chains import PathReport
    from embcompat.registry import Registry

Unmeasured = Annotated[
    float | None,
    typer.Option(help="Retention to assume for aligners without a measured one, which are left out by default."),
]


def path(
    url: Url,
    source: Annotated[str, typer.Argument(help="Where the vectors are: name@version or a label.")],
    target: Annotated[str, typer.Argument(help="Where they go: name@version or a label.")],
    unmeasured: Unmeasured = None,
    old_gallery: Annotated[Path | None, typer.Option(help="Items in SOURCE, to measure the path (.parquet).")] = None,
    new_gallery: Annotated[Path | None, typer.Option(help="The same items in TARGET.")] = None,
    as_json: Json = False,
) -> None:
    """Find the best way from one space to another; with galleries, measure it beside the direct aligner.

    Example:
    ```bash
    embcompat registry path team-registry facenet@3 production
    ```
    """
    from embcompat.chains import path as find_path
    from embcompat.registry import Registry

    registry = Registry(url)
    route = find_path(registry, source, target, unmeasured=unmeasured)
    report = None
    if old_gallery is not None and new_gallery is not None:
        report = _measure(registry, [edge.aligner for edge in route.edges], old_gallery, new_gallery)
    elif (old_gallery, new_gallery) != (None, None):
        raise InputError("--old-gallery and --new-gallery must be given together: the same items, both models.")
    print_route(route, report, as_json=as_json)
    if not as_json:
        show_next("registry", "compose", url, source, target, "ARTIFACT")


def compose(
    url: Url,
    source: Annotated[str, typer.Argument(help="Where the vectors are: name@version or a label.")],
    target: Annotated[str, typer.Argument(help="Where they go: name@version or a label.")],
    out: Annotated[Path, typer.Argument(help="The artifact directory to create.")],
    unmeasured: Unmeasured = None,
    as_json: Json = False,
) -> None:
    r"""Make one artifact of the best path between two spaces.

    Example:
    ```bash
    embcompat registry compose team-registry facenet@3 production \
        old-to-production
    ```
    """
    from embcompat.chains import path as find_path
    from embcompat.chains import save_composed
    from embcompat.registry import Registry

    registry = Registry(url)
    route = find_path(registry, source, target, unmeasured=unmeasured)
    artifact = save_composed([registry.get(edge.aligner) for edge in route.edges], out)
    if as_json:
        print_json({"artifact": str(out), "id": artifact.id, "steps": [edge.aligner for edge in route.edges]})
    else:
        ends = f"{artifact.source.id} → {artifact.target.id}"
        output().print(f"Composed {len(route.edges)} steps, {ends}, as {out} ({artifact.manifest.kind}).")
        show_next("convert", out, "GALLERY", "CONVERTED", instead=("migrate", "plan", out, "STORE_URL"))


def _measure(registry: Registry, aligners: list[str], old_gallery: Path, new_gallery: Path) -> PathReport:
    from embcompat.chains import edges_of, evaluate_path
    from embcompat.embeddings import pair_embeddings

    pairs = pair_embeddings(load_embeddings(old_gallery), load_embeddings(new_gallery))
    steps: list[Artifact] = [registry.get(aligner) for aligner in aligners]
    ends = pairs.source.space.id, pairs.target.space.id
    direct = [edge for edge in edges_of(registry) if (edge.source.id, edge.target.id) == ends]
    if not direct:
        raise RegistryError(
            f"no aligner leads straight from {ends[0]} to {ends[1]}, so there is nothing to compare with."
        )
    best = max(direct, key=lambda edge: (edge.retention or 0.0, edge.aligner))
    return evaluate_path(steps, registry.get(best.aligner), pairs)
