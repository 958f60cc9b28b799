"""``embcompat aligners``: the zoo, and what each is for."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated, Any

import typer

from embcompat.cli.console import output, print_json, show_next
from embcompat.cli.inputs.options import NEURAL_KINDS

PURPOSES = {
    "identity": "no map at all: where the new model's vectors are nearly the old model's",
    "procrustes": "a rotation: the safest with few pairs; distances survive",
    "ridge": "a linear map: the first thing to try",
    "low_rank": "ridge through a bottleneck: regularizes where pairs are few for the dimension",
    "canonical": "a pair: moves both sides to their correlated directions",
    "kernel": "ridge and what landmarks add: the best without torch, fits in seconds",
    "text_aware": "kernels of the vector and the item's words: the best where texts are at hand",
    "pieces": "the mean of two kernels, of whole texts and of their pieces: the best for text with `embed --pieces`",
    "residual": "ridge and what a network adds: the best with many pairs; presets skip, drift_adapter",
    "dense": "FC-Aligner's Dense: the paper's baseline; preset fc_aligner",
    "multi_branch": "FC-Aligner's Multi-branch; preset fc_aligner",
    "ensemble": "the mean of kernel and residual: the best for faces",
    "bidirectional": "a pair: λ-orthogonal map for new vectors, affine map for old ones",
}


def aligners(
    source_dim: Annotated[int, typer.Option(help="Length of the old vectors.", min=1)] = 128,
    target_dim: Annotated[int, typer.Option(help="Length of the new vectors.", min=1)] = 128,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """List the aligners, how many floats each stores, and what each is for.

    Examples:
    ```bash
    embcompat aligners
    embcompat aligners --source-dim 384 --target-dim 768 --json
    ```
    """
    from embcompat.aligners import list_plugin_aligners

    rows = [
        {"kind": kind, "parameters": count_floats(kind, source_dim, target_dim), "purpose": purpose}
        for kind, purpose in PURPOSES.items()
    ]
    rows += [
        {"kind": plugin.name, "parameters": None, "purpose": f"{plugin.first_doc_line()} ({plugin.distribution})"}
        for plugin in list_plugin_aligners()
    ]
    if as_json:
        print_json({"source_dim": source_dim, "target_dim": target_dim, "aligners": rows})
        return
    from rich.table import Table

    table = Table("kind", "floats", "what it is for", box=None, header_style="bold", pad_edge=False)
    table.columns[1].justify = "right"
    for row in rows:
        count: Any = row["parameters"]
        unknown = "needs train" if row["kind"] in PURPOSES else "its own"
        table.add_row(str(row["kind"]), unknown if count is None else f"{count:,}", str(row["purpose"]))
    output().print(table)
    if any(row["parameters"] is None for row in rows if row["kind"] in PURPOSES):
        output().print("\nThe neural kinds need: pip install 'embcompat[train]'")
    show_next("fit", "OLD.parquet", "NEW.parquet", "--kind", "KIND", "--out", "old-to-new")


def count_floats(kind: str, source_dim: int, target_dim: int) -> int | None:
    """Count the floats that an aligner stores, with default options; None if it needs torch, which is missing."""
    from embcompat.aligners import parameter_count
    from embcompat.aligners.kernel import DEFAULT_LANDMARKS

    def affine(rows: int, columns: int) -> int:
        return rows * (columns + 1)

    if kind == "canonical":
        shared = min(source_dim, target_dim)
        return affine(shared, source_dim) + affine(shared, target_dim)
    if kind == "text_aware":  # its maps at their largest; the words' vectors come on top
        kernels = [count_floats("kernel", dim, target_dim) or 0 for dim in (source_dim + 2 * target_dim, source_dim)]
        return 2 * (sum(kernels) + affine(target_dim, target_dim))
    if kind == "kernel":
        landmarks = DEFAULT_LANDMARKS * (source_dim + target_dim)
        return affine(target_dim, source_dim) + source_dim + landmarks  # source_dim: the mean
    if kind == "pieces":
        return affine(target_dim, target_dim) + 2 * (count_floats("kernel", source_dim, target_dim) or 0)
    if kind not in NEURAL_KINDS:
        return affine(target_dim, source_dim)
    if find_spec("torch") is None:
        return None
    if kind == "bidirectional":
        return affine(target_dim, source_dim) + affine(target_dim, target_dim)
    from embcompat.aligners.neural import create_aligner
    from embcompat.training import find_preset

    if kind == "ensemble":
        members = [count_floats(member, source_dim, target_dim) or 0 for member in ("kernel", "residual")]
        return affine(target_dim, target_dim) + sum(members)
    options: dict[str, Any] = dict(find_preset(kind, None).options)
    return parameter_count(create_aligner(kind, source_dim=source_dim, target_dim=target_dim, **options))
