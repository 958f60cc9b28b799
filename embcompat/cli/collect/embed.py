"""``embcompat embed``: from items to a file of embeddings."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embcompat.cli.collect.sample import check_out
from embcompat.cli.console import messages, output, print_json, show_next
from embcompat.cli.inputs.models import open_model, show_estimate
from embcompat.cli.inputs.options import Delimiter, ExtractorOptions, ModelPath
from embcompat.cli.progress import track
from embcompat.durations import format_duration
from embcompat.errors import ExtractionError, InputError

if TYPE_CHECKING:
    from embcompat.cli.inputs.items import Items
    from embcompat.embeddings import Embeddings
    from embcompat.extractors import Extractor, SkippedItem

LISTED_SKIPS = 10


def embed(
    source: Annotated[
        Path,
        typer.Argument(metavar="INPUT", help="A .jsonl, .csv, .parquet or .txt file, or a directory of images."),
    ],
    extractor: Annotated[str, typer.Option("--extractor", "-e", help="Name, as `embcompat extractors` lists it.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .parquet file to write.")],
    model: ModelPath = None,
    option: ExtractorOptions = None,
    id_column: Annotated[
        str | None, typer.Option(help="Column of the ids; id if there is one, else row numbers.")
    ] = None,
    text_column: Annotated[str | None, typer.Option(help="Column to embed; text if there is one.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Column of the labels; label if there is one.")] = None,
    label_level: Annotated[
        int | None, typer.Option(min=1, help="Which folder is an image's label, 1 for the first; the last by default.")
    ] = None,
    delimiter: Delimiter = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Number of items to embed, from the first on.")] = None,
    pieces: Annotated[
        int | None,
        typer.Option(
            min=1, help="Also embed pieces of each text, of this many words (such as 16), as more pairs for `fit`."
        ),
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Items that go through the model together.")] = None,
    skip_errors: Annotated[
        bool, typer.Option("--skip-errors", help="Leave out and list items that cannot be embedded.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file at --out.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    r"""Embed texts or images with a model.

    The file appears when it is complete. A run that is stopped or killed keeps what is embedded in a hidden file
    beside it, and the same command resumes there.

    Examples:
    ```bash
    embcompat embed docs.jsonl --extractor minilm --text-column body \
        --out new.parquet
    embcompat embed docs.csv -e sentence-transformers -m ./my-model \
        --option encode=document -o new.parquet
    embcompat embed docs.txt -e onnx-text -m model.onnx \
        --option tokenizer=tokenizer.json -o old.parquet
    embcompat embed docs.csv -e openai -m text-embedding-3-small \
        --option price=0.02 -o new.parquet
    embcompat embed photos/ -e image -m openai/clip-vit-base-patch32 \
        --out clip.parquet
    embcompat embed photos/ --extractor dlib --skip-errors --out faces.parquet
    ```
    """
    from embcompat.cli.inputs.items import read_items
    from embcompat.extractors import extraction_notes

    check_out(out, overwrite=overwrite)
    items = read_items(
        source,
        id_column=id_column,
        text_column=text_column,
        label_column=label_column,
        label_level=label_level,
        delimiter=delimiter,
        limit=limit,
    )
    if pieces is not None:
        items = with_pieces(items, pieces)
    loaded = open_model(extractor, model, option, batch_size=batch_size)
    if source.is_dir() and loaded.space.modality == "text":
        raise InputError(f"{extractor} embeds texts, so INPUT must be a file. Got the directory {source}.")
    notes = [*items.notes, *extraction_notes(loaded, items.items)]
    for note in notes:
        messages().print(note, soft_wrap=True)
    show_estimate(loaded, lambda: items.items)
    run = _run(loaded, items, out, notes, skip_errors=skip_errors)
    run.embeddings.save(out)
    parts_path(out).unlink(missing_ok=True)
    if as_json:
        print_json(_result(out, run))
    else:
        _show(out, run, items.origin)
        show_next("fit", "OLD.parquet", out, "--out", "old-to-new")


def with_pieces(items: Items, words: int) -> Items:
    """Return texts and their pieces, labelled by text, as `fit` expects them.

    Raises:
        InputError: If the items are not texts, or have labels already.
    """
    from embcompat.embeddings import cut_texts

    if not all(isinstance(item, str) for item in items.items):
        raise InputError("--pieces cuts texts. Got items that are not texts.")
    if items.labels is not None:
        raise InputError("--pieces labels each piece with its text, so the items must have no labels of their own.")
    cut = cut_texts(items.items, items.ids, words=words)
    return replace(items, items=list(cut.items), ids=cut.ids, labels=cut.labels, row_numbers=False)


@dataclass(frozen=True)
class _Run:
    embeddings: Embeddings
    skipped: list[SkippedItem]
    seconds: float
    notes: list[str]


def _run(extractor: Extractor, items: Items, out: Path, notes: list[str], *, skip_errors: bool) -> _Run:
    from embcompat.extractors import extract_embeddings, extraction_remarks

    skipped: list[SkippedItem] = []
    on_skip = skipped.append if skip_errors else None
    start = time.perf_counter()
    with track("Embedding", len(items.items), unit="items") as advance:
        embeddings = extract_embeddings(
            extractor,
            items.items,
            ids=None if items.row_numbers else items.ids,
            labels=items.labels,
            on_skip=on_skip,
            progress=advance,
            parts=parts_path(out),
        )
    if not len(embeddings):
        raise ExtractionError(f"none of the {len(skipped)} items could be embedded. The first: {skipped[0].reason}.")
    remarks = extraction_remarks(extractor)
    for remark in remarks:
        messages().print(remark, soft_wrap=True)
    return _Run(embeddings, skipped, time.perf_counter() - start, [*notes, *remarks])


def parts_path(out: Path) -> Path:
    """Return the path of the vectors while ``out`` is incomplete."""
    return out.with_name(f".{out.name}.parts")


def _result(out: Path, run: _Run) -> dict[str, Any]:
    return {
        "out": str(out),
        "count": len(run.embeddings),
        "dim": run.embeddings.space.dim,
        "labels": run.embeddings.labels is not None,
        "space": run.embeddings.space.model_dump(),
        "seconds": run.seconds,
        "skipped": [asdict(item) for item in run.skipped],
        "notes": run.notes,
    }


def _show(out: Path, run: _Run, origin: str) -> None:
    console, space = output(), run.embeddings.space
    rate = (len(run.embeddings) + len(run.skipped)) / max(run.seconds, 1e-9)
    console.print(f"{out}: {len(run.embeddings):,} vectors of {space.dim} numbers in {space.id}", soft_wrap=True)
    console.print(f"{format_duration(run.seconds)}, {rate:,.0f} items/s; {origin}", soft_wrap=True)
    if not run.skipped:
        return
    console.print(f"Skipped {len(run.skipped):,}:")
    for item in run.skipped[:LISTED_SKIPS]:
        console.print(f"  {item.id}: {item.reason}", soft_wrap=True)
    if len(run.skipped) > LISTED_SKIPS:
        console.print(f"  and {len(run.skipped) - LISTED_SKIPS:,} more; --json lists all")
