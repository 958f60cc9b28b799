"""``embcompat unweight``: an artifact without its reweighting."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from embcompat.cli.console import output, print_json, show_next
from embcompat.cli.inputs.options import ArtifactPath, Json


def unweight(
    artifact: ArtifactPath,
    out: Annotated[Path, typer.Option("--out", "-o", help="The artifact directory to create.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an artifact at --out.")] = False,
    as_json: Json = False,
) -> None:
    """Take the reweighting out of an artifact, for a gallery in which native rows will stand among converted ones.

    Reweighting is best where every row is converted. In a lazy or partial backfill, native rows would score higher
    than reweighted ones, whatever they hold. `embcompat evaluate` measures each mode with the aligner that suits it;
    convert the gallery with this artifact where the verdict is one of those two.

    Example:
    ```bash
    embcompat unweight old-to-new --out old-to-new-unweighted
    ```
    """
    from embcompat.export import unweight_artifact

    copy = unweight_artifact(artifact, out, overwrite=overwrite)
    if as_json:
        print_json({"out": str(out), "id": copy.id, "kind": copy.manifest.kind})
    else:
        output().print(f"{out}: {copy.manifest.kind}, {copy.source.id} → {copy.target.id}, without reweighting")
        show_next("migrate", "plan", out, "STORE_URL", instead=("convert", out, "GALLERY", "CONVERTED"))
