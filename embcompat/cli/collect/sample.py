"""``embcompat sample``: vectors and texts of a gallery in use, for the pairs of an aligner."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embcompat.cli.console import output, print_json, show_next
from embcompat.cli.inputs.options import Json, NpySimilarity
from embcompat.errors import InputError

if TYPE_CHECKING:
    from embcompat.spaces import SpaceVersion


def sample(
    gallery: Annotated[str, typer.Argument(help="The store's address, as `embcompat migrate` takes it.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .parquet file to write.")],
    rows: Annotated[int, typer.Option(min=1, help="Rows to draw.")] = 5_000,
    text_column: Annotated[
        str | None, typer.Option(help="Column with the texts or paths, for the new model to embed.")
    ] = None,
    label_column: Annotated[str | None, typer.Option(help="Column with the labels.")] = None,
    where: Annotated[
        str | None,
        typer.Option(
            help="Only rows that meet a condition: SQL in LanceDB and PostgreSQL, a filter as JSON in Qdrant."
        ),
    ] = None,
    keep_out: Annotated[
        Path | None, typer.Option(help="Judgements whose relevant items must not be drawn, so that they stay held out.")
    ] = None,
    include: Annotated[
        Path | None,
        typer.Option(help="Judgements whose relevant items must be in the sample, on top of --rows, to judge by them."),
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(
            help="name@version of the vectors in service, if the store does not record it; or a file in that space."
        ),
    ] = None,
    similarity: NpySimilarity = "cosine",
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file at --out.")] = False,
    as_json: Json = False,
) -> None:
    r"""Draw a uniform random sample of a gallery in use: ids, vectors, and the texts that the store holds.

    The next step is to embed the same items with the new model: `embcompat embed old.parquet --extractor NEW
    --out new.parquet`, then `embcompat fit old.parquet new.parquet --out old-to-new`.

    Examples:
    ```bash
    embcompat sample lancedb:///data/lance#docs.vector --text-column body \
        --space ada@2 --out old.parquet
    embcompat sample postgresql:///shop#items.embedding --rows 20000 \
        --keep-out qrels.tsv --out old.parquet
    embcompat sample postgresql:///shop#items.embedding \
        --where "lang = 'en' AND price > 0" --out old.parquet
    ```
    """
    from embcompat.stores import sample_gallery

    check_out(out, overwrite=overwrite)
    drawn = sample_gallery(
        gallery,
        rows=rows,
        text_column=text_column,
        label_column=label_column,
        where=where,
        keep_out=_relevant(keep_out),
        include=_relevant(include),
        space=_space(space),
        similarity=similarity,
        seed=seed,
    )
    drawn.save(out)
    if as_json:
        print_json({"out": str(out), "rows": len(drawn), "space": drawn.space.model_dump()})
        return
    output().print(f"{out}: {len(drawn):,} rows in {drawn.space.id}", soft_wrap=True)
    source = ("ITEMS",) if drawn.texts is None else (out, "--text-column", "text")
    show_next("embed", *source, "--extractor", "NAME", "--out", "NEW.parquet")


def _relevant(path: Path | None) -> list[str]:
    if path is None:
        return []
    from embcompat.evaluation import read_qrels

    return sorted(read_qrels(path).relevant_items())


def _space(text: str | None) -> SpaceVersion | str | None:
    """Return the space that a file of embeddings names; any other text as it is."""
    if text is None or not Path(text).is_file():
        return text
    from embcompat.files import read_space

    space = read_space(Path(text))
    if space is None:
        raise InputError(f"{text} must name its space (--space). Pass what `embcompat embed` wrote, or name@version.")
    return space


def check_out(out: Path, *, overwrite: bool) -> None:
    """Refuse, before the work begins, a file that could not be written after it."""
    if out.suffix != ".parquet" or out.is_dir():
        raise InputError(f"--out must be a .parquet file. Got {out}.")
    if not out.parent.is_dir():
        raise InputError(f"the folder of {out} does not exist. Create it first.")
    if out.exists() and not overwrite:
        raise InputError(f"{out} exists already. Choose another --out, or pass --overwrite to replace it.")
